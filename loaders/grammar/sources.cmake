# Paths from loaders/. Needs nlohmann-json.
set(KLENS_GRAMMAR_SOURCES
    grammar/automaton.cpp
    grammar/characters.cpp
    grammar/dfa.cpp
    grammar/formats.cpp
    grammar/gbnf.cpp
    grammar/grammar.cpp
    grammar/json_rules.cpp
    grammar/json_schema.cpp
    grammar/matcher.cpp
    grammar/nfa.cpp
    grammar/number_range.cpp
    grammar/pattern.cpp
    grammar/schema_shape.cpp
    grammar/token_trie.cpp)
