# Paths from loaders/. Uses the tokenizer's utf8 and unicode; needs utf8proc and nlohmann-json.
set(KLENS_CHAT_TEMPLATE_SOURCES
    chat_template/chat_template.cpp
    chat_template/evaluate.cpp
    chat_template/expression_parser.cpp
    chat_template/filters.cpp
    chat_template/globals.cpp
    chat_template/interpreter.cpp
    chat_template/lexer.cpp
    chat_template/list_filters.cpp
    chat_template/methods.cpp
    chat_template/operators.cpp
    chat_template/parser.cpp
    chat_template/predicates.cpp
    chat_template/runtime.cpp
    chat_template/text.cpp
    chat_template/value.cpp)
