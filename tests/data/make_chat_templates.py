"""Writes chat_templates.json: templates in the styles of published models, and small ones for each piece
of the language, each with contexts and what Jinja renders, set up as the transformers package does.

    python3 make_chat_templates.py     (needs jinja2)
"""
import json
import os

import jinja2
import jinja2.ext
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class TemplateNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            TemplateNamespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        TemplateNamespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["namespace"] = TemplateNamespace
    return env


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Current weather of a place \u2014 in \u00b0C, \"as is\" <b>&</b>",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "Name of the place"},
            "days": {"type": "integer", "enum": [1, 2, 3], "default": 1}},
            "required": ["place"]}}},
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {}}},
]
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"place": "K\u00f6ln", "days": 2}}}
PLAIN = [{"role": "user", "content": "  Hello, who are you? \n"}]
LONG = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Hi <|im_end|> \u4f60\u597d"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Tell me\n\nmore."},
]
NO_SYSTEM = LONG[1:]
CALLS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "get_weather", "content": "{\"t\": 7.5}"},
    {"role": "tool", "name": "now", "content": "12:00"},
    {"role": "assistant", "content": "7.5 degrees."},
    {"role": "user", "content": "Thanks"},
]
BAD_ORDER = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]

CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\nFunctions you may call:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA3 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message is taken out, so that it can be placed. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("There is no first user message for the tools.") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Functions in JSON:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("Only one call at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- Roles must take turns, calls of tools aside. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {{- ', "id": "x' ~ loop.index ~ '"}' }}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}"""

PHI3 = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|system|>' + '\\n' + message['content'] + '<|end|>' + '\\n'}}{% elif (message['role'] == 'user') %}{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}{% elif message['role'] == 'assistant' %}{{message['content'] + '<|end|>' + '\\n'}}{% endif %}{% endfor %}"""

GRANITE = """{%- macro render_content(content) -%}
    {%- if content is string -%}
        {{ content }}
    {%- elif content is iterable -%}
        {%- for part in content if part.type == 'text' -%}
            {{ part.text }}{{ '\\n' if not loop.last }}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = render_content(messages[0]['content']) %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = "Knowledge Cutoff Date: April 2024.\\nYou are Granite." %}
    {%- if tools and documents %}
        {%- set system_message = system_message + "\\nTools and documents." %}
    {%- elif tools %}
        {%- set system_message = system_message + "\\nTools." %}
    {%- endif %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\\n' }}
{%- if tools %}
    {{- '<|start_of_role|>tools<|end_of_role|>' }}
    {{- tools | map(attribute='function') | list | tojson(indent=2) }}
    {{- '<|end_of_text|>\\n' }}
{%- endif %}
{%- for message in loop_messages %}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}
        {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + render_content(message['content']) + '<|end_of_text|>\\n' }}
        {%- endgeneration %}
    {%- else %}
        {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + render_content(message['content']) + '<|end_of_text|>\\n' }}
    {%- endif %}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|start_of_role|>assistant' }}
            {%- if controls %}
                {{- ' ' + controls | tojson()}}
            {%- endif %}
        {{- '<|end_of_role|>' }}
    {%- endif %}
{%- endfor %}"""

FALCON = """{%- if tools %}
{{- '<|system|>\\n' }}
{%- if messages[0].role == 'system' %}
{{- messages[0].content }}
{%- set remaining_messages = messages[1:] %}
{%- else %}
{%- set remaining_messages = messages %}
{%- endif %}
{{- 'Call functions as <tool_call>\\n[{"name": ..., "arguments": {...}}]\\n</tool_call>.\\n<tools>\\n' }}
{%- for tool in tools %}
{{- tool | tojson }}{{ '\\n' if not loop.last }}
{%- endfor %}
{{- '\\n</tools>\\n' }}
{%- else %}
{%- set remaining_messages = messages %}
{%- endif %}
{%- for message in remaining_messages %}
{%- if not message.content %}{%- continue %}{%- endif %}
{%- if message.role == 'user' %}
{{- '<|user|>\\n' ~ message.content ~ '\\n' }}
{%- elif message.role in ['assistant', 'system'] %}
{{- '<|' ~ message.role ~ '|>\\n' ~ message.content ~ (eos_token if loop.last else '') ~ '\\n' }}
{%- else %}
{{- '<|' ~ message['role'] | upper ~ '|>' ~ message.content|replace('"', "'") ~ '\\n' -}}
{%- endif %}
{%- endfor %}
{{- '<|assistant|>\\n' if add_generation_prompt }}"""

THINK = """{%- set ns = namespace(last=messages|length - 1, seen=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.seen and message.role == "user" and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.seen = true %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and reasoning %}
            {{- '[A]<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '[A]' + content }}
        {%- endif %}
    {%- else %}
        {{- '[' ~ message.role[0]|upper ~ ']' ~ content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[A]' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
THOUGHTS = [
    {"role": "user", "content": "Q1"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA1"},
    {"role": "user", "content": "Q2"},
    {"role": "assistant", "content": "<think>\nwell\n\n</think>\nA2"},
]

# Functionary's for Llama 3.1 lists the tools that are no functions, of tools that may be None.
FUNCTIONARY = """{%- set image_token = '<|image|>' %}{{ bos_token }}
{%- if tools is not none %}{%- set has_code = (tools | selectattr('type', 'equalto', 'code_interpreter') | list | length) > 0 %}{%- endif %}
{%- set code = tools | selectattr('type', 'equalto', 'code_interpreter') | list %}
{%- set tools = tools | rejectattr('type', 'equalto', 'code_interpreter') | list %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if code %}{{- "Environment: ipython\\n" }}{%- endif %}
{%- for t in tools %}
{{- "Use the function '" + t.function["name"] + "' to '" + t.function["description"] + "'\\n" + t.function | tojson() + "\\n\\n" }}
{%- endfor %}
{{- '<|eot_id|>' }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' and message.get('tool_calls') %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' + (message.content or '') }}
{%- for call in message['tool_calls'] %}{{- '<function=' + call["function"]["name"] + '>' + (call["function"]["arguments"] | tojson) + '</function>' }}{%- endfor %}
{{- '<|eom_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | string + '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

# Hermes 2 Pro turns JSON schemas into Python's types by a macro that calls itself.
HERMES = """{%- macro json_to_python_type(json_spec) %}
{%- set basic_type_map = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if basic_type_map[json_spec.type] is defined %}{{- basic_type_map[json_spec.type] }}
{%- elif json_spec.type == "array" %}{{- "list[" + json_to_python_type(json_spec|items) + "]" }}
{%- elif json_spec.type is iterable and json_spec.type is not string %}
{{- "Union[" }}{%- for t in json_spec.type %}{{- json_to_python_type({"type": t}) }}{%- if not loop.last %}{{- "," }}{%- endif %}{%- endfor %}{{- "]" }}
{%- else %}{{- "Any" }}{%- endif %}
{%- endmacro %}
{{- bos_token + '<|im_start|>system\\n<tools> ' }}
{%- for tool in tools or [] %}
{%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
{{- '{"type": "function", "function": {"name": "' + tool.name + '", "description": "' + tool.name + '(' }}
{%- for param_name, param_fields in tool.parameters.properties|items %}
{{- param_name + ": " + json_to_python_type(param_fields) }}{%- if not loop.last %}{{- ", " }}{%- endif %}
{%- endfor %}
{{- ")" }}{%- if tool.return is defined %}{{- " -> " + json_to_python_type(tool.return) }}{%- endif %}
{{- " - " + tool.description + "\\n" }}
{%- for param_name, param_fields in tool.parameters.properties|items %}
{%- if loop.first %}{{- "    Args:\\n" }}{%- endif %}
{{- "        " + param_name + "(" + json_to_python_type(param_fields) + "): " + (param_fields.description|default(""))|trim }}
{%- endfor %}
{{- '"' }}{{- ', "parameters": ' }}{%- if tool.parameters.properties | length == 0 %}{{- "{}" }}{%- else %}{{- tool.parameters|tojson }}{%- endif %}{{- "}" }}
{%- endfor %}
{{- ' </tools><|im_end|>\\n' }}
{%- for message in messages %}
{%- if message.role == "user" or message.role == "system" %}{{- '<|im_start|>' + message.role + '\\n' + message.content|string + '<|im_end|>' + '\\n' }}
{%- elif message.role == "assistant" %}
{{- '<|im_start|>' + message.role }}
{%- for tool_call in message.tool_calls %}
{{- '\\n<tool_call>\\n' }}{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '{"name": "' + tool_call.name + '", "arguments": ' + tool_call.arguments|tojson + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == "tool" %}
{%- if loop.previtem and loop.previtem.role != "tool" %}{{- '<|im_start|>tool\\n' }}{%- endif %}
{{- '<tool_response>\\n' + message.content }}{%- if not loop.last %}{{- '\\n</tool_response>\\n' }}{%- else %}{{- '\\n</tool_response>' }}{%- endif %}
{%- if not loop.last and loop.nextitem.role != "tool" %}{{- '<|im_end|>' }}{%- elif loop.last %}{{- '<|im_end|>' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# Parts of contents alone, and a macro that a call block gives its text.
PARTS_ONLY = """{%- macro turn(role) %}<{{ role }}>{{ caller() }}</{{ role }}>{%- endmacro %}
{%- for m in messages %}{% call turn(m.role) %}{{ m.content[0].text }}{% endcall %}{%- endfor %}"""

STYLES = {"functionary": FUNCTIONARY, "hermes": HERMES, "parts only": PARTS_ONLY, "chatml": CHATML, "qwen2.5": QWEN, "llama-3": LLAMA3, "mistral": MISTRAL, "llama-2": LLAMA2,
          "zephyr": ZEPHYR, "gemma": GEMMA, "phi-3": PHI3, "granite": GRANITE, "falcon-h1": FALCON,
          "qwen3": THINK}

# One piece of the language each; rendered with SMALL.
SMALL = {"d": {"b": 1, "a": [1, 2.5, None, True, "x'y\"\n"], "items": 3}, "l": [3, 1, 2], "s": " H\u00e9llo w\u00f6rld! ",
         "names": ["b", "A", "c"], "n": None, "t": True, "users": [{"n": "x", "on": True, "k": {"z": 1}}, {"n": "y", "on": False, "k": {"z": 0}}, {"n": "z"}],
         "html": "<a href='x'>&</a>", "e": "", "z": 0}
PIECES = r"""
{{ 1 + 2 * 3 - 4 // 3 }} {{ 4 // 3 ~ 5 }} {{ 7 / 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1e3 }} {{ 1.0 }} {{ 1e16 }} {{ 0.00001 }} {{ 1e22 * 1 }} {{ 123456789.125 }} {{ -3 }} {{ +3 }} {{ 1_000 }}
{{ 1 < 2 <= 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1, 2) == (1, 2) }} {{ 1 != 2 }} {{ true == 1 }}
{{ 'a' in 'cat' }} {{ 1 in [1] }} {{ 'b' in d }} {{ 'zz' not in d }} {{ not 1 }} {{ 1 and 0 }} {{ 0 or 'x' }} {{ none or false }}
{{ d }} {{ l }} {{ (1,) }} {{ (1, 'a') }} {{ () }} {{ [] }} {{ {} }} {{ {'a': 1, 2: [none, true]} }} {{ n }} {{ t }} {{ [1.5, "it's", 'q"q', '\u200b\t'] }}
{{ d.b }} {{ d['b'] }} {{ d.nope }}|{{ d['nope'] }}|{{ l[0] }} {{ l[-1] }} {{ l[9] }}|{{ s[1] }} {{ l.0 }} {{ d.a[4][0] }}
{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ s[2:5] }} {{ s[::-1] }} {{ l[-2:] }} {{ s[-3:-1] }} {{ l[:0] }} {{ l[2:0:-1] }}
{{ 'a' if t else 'b' }} {{ 'a' if z }}|{{ 'a' if z else 'b' if e else 'c' }}
{{ s|trim }}| {{ s|upper }} {{ s|lower }} {{ s|length }} {{ l|length }} {{ 'aXb'|replace('X', '-') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ s|trim|title }} {{ 'hELLO wORLD'|capitalize }} {{ "it's me-too (now)"|title }}
{{ l|join(', ') }} {{ l|join }} {{ users|join('+', attribute='n') }} {{ l|first }} {{ l|last }} {{ 'abc'|first }} {{ []|first }}| {{ l|sort }} {{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ l|sort(reverse=true) }} {{ l|reverse|list }} {{ 'abc'|reverse }} {{ l|max }} {{ l|min }} {{ l|sum }} {{ users|sort(attribute='n', reverse=true)|map(attribute='n')|list }}
{{ nope|default('x') }} {{ e|default('x') }}|{{ e|default('x', true) }} {{ n|d('x') }} {{ nope|d }}| {{ z|default(5, boolean=true) }}
{{ 5|string + 'a' }} {{ '12'|int + 1 }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 3.9|int }} {{ '3.5'|float }} {{ ' 4 '|int }} {{ 'abc'|list }} {{ d|list }} {{ -3|abs }} {{ 2.567|round(2) }} {{ 2.5|round }} {{ 2.1|round(0, 'ceil') }}
{{ users|selectattr('on')|map(attribute='n')|list }} {{ users|rejectattr('on')|map(attribute='n')|list }} {{ users|selectattr('n', 'equalto', 'y')|list|length }} {{ users|selectattr('on', 'defined')|list|length }} {{ l|select('odd')|list }} {{ l|reject('gt', 1)|list }} {{ [0, 1, '']|select|list }} {{ users|map(attribute='k.z', default='?')|join(',') }} {{ names|map('upper')|join }} {{ names|map('replace', 'b', 'q')|list }} {{ users|selectattr('n', 'in', ['x', 'z'])|map(attribute='n')|list }}
{{ d|tojson }} {{ d|tojson(indent=2) }} {{ html|tojson }} {{ '\u00e9\x7f\n\u2028'|tojson }} {{ '\u00e9\U0001f600'|tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': {}}|tojson(sort_keys=true) }} {{ [1, [], {}]|tojson(indent=1) }} {{ [1, {'a': 2}]|tojson(separators=(',', ':')) }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}
{{ 'a\nb\n\nc'|indent }} {{ 'a\nb\n\nc\n'|indent(2, true, true) }} {{ 'a\nb'|indent('>>') }} {{ 'a\r\nb'|indent(1) }}|
{{ d|dictsort }} {{ {'B': 2, 'a': 3, 'c': 1}|dictsort }} {{ {'B': 2, 'a': 3}|dictsort(true) }} {{ {'B': 2, 'a': 3, 'c': 1}|dictsort(by='value') }} {{ {'x': 1}|items|list }} {{ ['a', 'A', 'b', 'a']|unique|list }} {{ [1, 1, 2]|unique|list }} {{ html|safe }}
{{ s.strip() }}| {{ s.lstrip() }}| {{ s.rstrip('! ') }}| {{ 'xxaxx'.strip('x') }} {{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b  c '.split(none, 1) }} {{ 'a.b.c'.rsplit('.', 1) }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'aXb'.replace('X', '') }} {{ 'ab'.upper() }} {{ 'AB'.lower() }} {{ "they're bill's".title() }} {{ 'h\u00e9llo'.find('l') }} {{ 'a'.find('z') }} {{ 'hello'.rfind('l') }} {{ 'aXaXa'.count('X') }} {{ '-'.join(['a', 'b']) }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'abc'.replace('', '-') }} {{ 'hello World'.capitalize() }} {{ '12'.isdigit() }} {{ 'stra\u00dfe'.upper() }}
{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 'w') }} {{ d.keys()|list }} {{ d.items()|list|length }} {{ d.values()|list }} {{ d['items'] }} {{ l.index(1) }} {{ l.count(3) }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.previtem }}/{{ loop.nextitem }}{{ loop.cycle('o', 'e') }} {% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'h\u00e9y' %}[{{ c }}]{% endfor %}
{% for x in [] %}x{% else %}none{% endfor %}{% for x in nope %}x{% else %}no{% endfor %}{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}q{% endfor %}{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }}{{ loop.index }} {% endfor %}{{ loop.index }}{% endfor %}
{% set a = 1 %}{% for x in l %}{% set a = a + x %}{{ a }}{% endfor %}{{ a }}{% if true %}{% set a = 9 %}{% endif %}{{ a }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set ns = namespace(c=0) %}{% for x in l %}{% set ns.c = ns.c + x %}{% endfor %}{{ ns.c }}
{% set x %}a{{ 1 }} b{% endset %}[{{ x }}]{% set y | upper | replace('A', 'z') %}ab{% endset %}[{{ y }}]{% with q = 3, r = 4 %}{{ q + r }}{% endwith %}{{ q }}|
{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(c='z', a=5) }}{{ m() }}{{ m(1)|upper }}{% set a = 7 %}{% macro k() %}{{ a }}{% endmacro %}{{ k() }}{% set a = 8 %}{{ k() }}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{{ nope is defined }} {{ d is defined }} {{ n is none }} {{ s is string }} {{ d is mapping }} {{ l is iterable }} {{ 5 is number }} {{ t is true }} {{ z is false }} {{ nope is undefined }} {{ l is sequence }} {{ 1 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ t is boolean }} {{ 1 is integer }} {{ 1.5 is float }} {{ 1 is eq 1 }} {{ 'a' is in ['a'] }} {{ 1 is not none }} {{ not s is string }} {{ 'upper' is filter }} {{ range is callable }} {{ 'ab' is lower }} {{ n is sameas none }} {{ 2 is ge 2 }} {{ s is not mapping and t }} {{ l is string or d is mapping }}
{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ dict(a=1, b='x') }} {{ namespace(a=1).a }}
a {%- if t -%} b {%- endif -%} c {{- 'd' -}} e {# comment #} f {#- c -#} g
{% raw %}{{ not }} {% this %} {# or #}{% endraw %}{%- raw -%}  x  {%- endraw -%}  y
{{ 'a' 'b' "c" }} {{ 'tab\there' }} {{ "q\"q" }} {{ '\u00e9\x41\\' }} {{ '\d' }}
{{ ('a', 'b')[1] }} {{ {'a': {'b': 'c'}}['a']['b'] }} {{ [[1, 2], [3]][0][1] }} {{ "x" * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ 'a' ~ 1 ~ none ~ true ~ 1.5 }} {{ 1, 2 }}
{% if l and d.b == 1 and not e %}1{% elif z %}2{% else %}3{% endif %}{% if z %}1{% elif t %}2{% endif %}{% if nope %}1{% else %}4{% endif %}
{{ -(l|length) }} {{ (1 + 2) * 3 }} {{ 'a'|upper ~ 'b'|upper }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }} {{ not t == false }} {{ 'x' + 'y'|upper }} {{ l|length > 2 and 'big' or 'small' }} {{ (l|first)|string }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ loop }}|{{ '%' }} {{ '{{' }} {{ "}}" }} {{ {'a': 1}['a'] }}
{% for m in users %}{{ m.n if loop.first else ',' ~ m.n }}{{ '!' if m.on is defined and m.on }}{% endfor %}
{{ ''|indent(2, true) }}|{{ '\n'|indent }}|{{ 5[0:1] }}|{{ users[0].k.z }} {{ users|map(attribute='n')|join }} {{ (users|first).n }}
""".strip("\n").split("\n")

# The same with values of every kind, what is not there, and what Python's objects can do.
WIDE = {"d": {"b": 1, "a": [1, 2.5, None, True, "x'y\"\n"], "items": 3}, "l": [3, 1, 2], "s": " H\u00e9llo w\u00f6rld! ",
        "names": ["b", "A", "c"], "n": None, "t": True, "users": SMALL["users"], "html": SMALL["html"], "e": "", "z": 0, "f": 2.675,
        "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}]}
WIDE_PIECES = r"""
{{ l|map('string')|length }}
{% if l|select('gt',9) %}y{% else %}n{% endif %}
{% set g=l|select %}{{ g|list }}{{ g|list }}
{{ (l|map('string'))[0] }}|
{{ d.items() }} {{ d.keys() }} {{ d.values() }} {{ d.items()|length }}
{{ d.items()[0] }}|
{{ range(3) }} {{ range(1,7,2) }} {{ range(3)|length }} {{ range(5)[2] }} {{ range(5)[1:3] }} {{ range(3)[::-1] }}
{{ range(0) == range(0) }} {{ range(3)==[0,1,2] }} {{ 2 in range(3) }}
{{ n|select|list }} {{ n|map('upper')|list }} {{ n|selectattr('x')|list }} {{ n|rejectattr('a')|list }} {{ 0|reject|list }}
{{ n|list }}
{{ n|length }}
{{ n|join }}
{{ n|first }}
{{ n|sort }}
{{ l|reverse|list }} {{ l|reverse|first }}
{{ l|reverse|last }}
{{ l|batch(2)|list }} {{ l|batch(2,'-')|list }} {{ l|slice(2)|list }} {{ l|slice(2,'x')|list }}
{% for g in users|groupby('n') %}{{ g.grouper }}:{{ g.list|length }};{{ g[0] }}{% endfor %}
{% for k,v in users|groupby('on', default=false) %}{{ k }}={{ v|map(attribute='n')|join }} {% endfor %}
{{ users|groupby('n') }}
{{ names|groupby(0)|list }}
{{ '%s and %s'|format('a','b') }} {{ '%(x)s'|format(x=3) }} {{ '%5d|%-5d|%05d|%+d|%x|%X|%o|%e|%.2f|%g|%%|%r|%c|%5.1f'|format(1,2,3,4,255,255,8,1.5,2.345,0.0001,'q','c',2.25) }}
{{ 'a%sb' % 1 }} {{ 'a%s%s' % (1,2) }} {{ '%s' % (none,) }} {{ '%(a)s' % {'a':5} }} {{ '%s' % l }} {{ '%s' % d }}
{{ 'a' % 1 }}
{{ 'a' % {} }}{{ 'a' % [] }}
{{ '%d' % 'x' }}
{{ '%d' % 3.99 }} {{ '%d' % true }} {{ '%.3d' % 5 }} {{ '%+.3d|%6.3d|%-6.3d|%06.3d' % (5,5,5,5) }} {{ '%#x %#o' % (10,8) }} {{ '% d' % 3 }} {{ '%*d' % (5,3) }} {{ '%-*d|' % (5,3) }} {{ '%s %s' % ('a',) }}
{{ '{} {}'.format(1,'a') }} {{ '{0}{1}{0}'.format('a','b') }} {{ '{x}'.format(x=1) }} {{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a','b','c','d') }} {{ '{:05d} {:+d} {:,} {:_} {:x} {:#x} {:b} {:.2f} {:.1%} {:e} {:g}'.format(42,5,1234567,1234567,255,255,5,3.14159,0.256,12345.678,0.00001) }}
{{ '{0[a]} {0[b]} {1[0]}'.format({'a':1,'b':2},[7]) }} {{ '{!r} {!s}'.format('a','b') }} {{ '{{}}'.format() }} {{ '{:{}}'.format('a',5) }}| {{ '{:.3}'.format('abcdef') }} {{ '{}'.format(none) }} {{ '{:10}'.format(3.5) }} {{ '{:.3}'.format(3.14159) }} {{ '{}'.format(1.0) }} {{ '{:5}'.format(true) }} {{ '{:d}'.format(true) }}
{{ '{}'.format() }}
{{ '{0.b}'.format(d) }}
{{ '{:d}'.format('a') }}
{{ 'abc'.startswith('b',1) }} {{ 'abc'.startswith('b',1,2) }} {{ 'abc'.endswith('b',0,2) }} {{ 'abc'.startswith(('x','a')) }} {{ 'abc'.find('c',1) }} {{ 'abcabc'.find('a',1) }} {{ 'abcabc'.rfind('a',0,3) }} {{ 'aaa'.count('a',1) }} {{ 'abc'.index('b') }} {{ 'abcb'.rindex('b') }} {{ 'abc'.startswith('',5) }} {{ 'abc'.startswith('',3) }} {{ 'abc'.find('',3) }} {{ 'abc'.find('',4) }}
{{ 'abc'.index('z') }}
{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }} {{ 'a'.ljust(3,'.') }} {{ 'a'.rjust(3) }} {{ 'ab'.center(5,'*') }} {{ 'abc'.center(6,'*') }} {{ 'a'.center(4,'*') }} {{ '-5'.zfill(4) }} {{ '5'.zfill(3) }} {{ 'aB'.swapcase() }} {{ 'a\tb'.expandtabs(4) }} {{ 'ABC'.casefold() }} {{ 'a\nb'.splitlines(true) }} {{ 'Ab Cd'.istitle() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ 'é'.isalpha() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ 'a1'.isalnum() }} {{ 'a b'.isalnum() }} {{ 'é'.isascii() }} {{ '٣'.isdecimal() }} {{ 'x\n'.isprintable() }}
{{ html|e }} {{ html|escape }} {{ html|safe }} {{ '<'|safe + '<' }} {{ '<' + ('>'|e) }} {{ html|e|length }} {{ ('<'|e) ~ '<' }} {{ ('<'|safe)|e }} {{ ('a'|safe).upper() + '<' }} {{ ('%s'|safe) % '<' }} {{ ('{}'|safe).format('<') }} {{ ('-'|safe).join(['<','>']) }} {{ [('a'|safe)] }} {{ ('a,b'|safe).split(',') }} {{ ('aXb'|safe).replace('X','<') }} {{ html|e|tojson }} {{ ('<'|safe) * 2 }} {{ html|forceescape }} {{ ('x'|safe) is escaped }} {{ 'x' is escaped }}
{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller('q') if caller else '' }}{% endmacro %}{{ m(1) }}{% call(x) m(3) %}<{{ x }}>{% endcall %}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1,2,x=3) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(a=1,b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,a=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{% call m(1) %}x{% endcall %}
{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ l[0] }}{% endcall %}
{% macro m() %}[{{ caller() }}]{% endmacro %}{{ m() }}
{% macro m() %}{{ x }}{% endmacro %}{{ m }} {{ m.name }}
{% filter upper %}abc{{ s }}{% endfilter %}{% filter trim|replace('a','b') %} aa {% endfilter %}|
{% for x in tree recursive %}{{ loop.depth }}{{ x.v }}{% if x.c %}({{ loop(x.c) }}){% endif %}{{ loop.index }}/{{ loop.length }} {% endfor %}
{% for x in l %}{{ loop(l) }}{% endfor %}
{% for x in [1,1,2,2,1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}
{% for x in l %}{{ loop }}{% endfor %}
{% for (a, b), c in [((1,2),3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{{ ns.a }}{{ ns.b }}{{ ns }}
{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}
{% set ns = namespace(d) %}{{ ns.b }}{{ ns.nope }}|
{% set ns = namespace(_x=1) %}
{% set ns = namespace() %}{% set ns._x = 2 %}
{% set ns = namespace(x='') %}{% set ns.x %}abc{% endset %}{{ ns.x }}
{{ dict([('a',1),('b',2)]) }} {{ dict(d, z=1) }} {{ dict() }}
{{ dict([(1,2,3)]) }}
{{ '%s' % nope }}|{{ '{}'.format(nope) }}|{{ nope ~ 'x' }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 0 }} {{ 00 }} {{ 1e5 }} {{ 1.5e-3 }} {{ '\101\x41\u00e9\n' }}
{{ 42|round }} {{ 2.675|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 1234|round(-2) }} {{ 42.7|round(0,'floor') }} {{ 42.55|round(1,'ceil') }} {{ true|round }} {{ 12345.678|round(-2) }} {{ f|round(2) }} {{ 5|round(1,'floor') }}
{{ '0x1f'|int(0,16) }} {{ '1f'|int(base=16) }} {{ 'zz'|int('d') }} {{ n|int }} {{ l|int(3) }} {{ '1e3'|int }} {{ ' 12 '|int }} {{ '-5'|int }} {{ '+5'|int }} {{ '1_0'|int }} {{ '3.7'|int }} {{ true|int }} {{ 'x'|float('q') }} {{ 'inf'|float }} {{ '1_0.5'|float }} {{ n|float }} {{ '-0'|int }} {{ ''|int }}
{{ 'inf'|int }}
{{ nope|int }}
{{ nope|float }}
{{ nope|round }}
{{ nope|upper }}|{{ nope|trim }}|{{ nope|length }}|{{ nope|list }}|{{ nope|join }}|{{ nope|first }}|{{ nope|string }}|{{ nope|title }}|{{ nope|replace('a','b') }}|{{ nope|select|list }}|{{ nope|sum }}|{{ nope|sort }}|{{ nope|unique|list }}|{{ nope|dictsort }}
{{ nope|indent }}
{{ nope|abs }}
{{ n|upper }} {{ n|trim }} {{ 5|upper }} {{ 5|trim }} {{ l|upper }} {{ 5|string|length }} {{ n|string }} {{ n|title }} {{ 5|replace(5,6) }} {{ n|capitalize }} {{ true|lower }}
{{ 5|indent }}
{{ 5|length }}
{{ {'a':1}|tojson(indent='\t') }} {{ [1,2]|tojson(indent=0) }} {{ '\x7f'|tojson(ensure_ascii=true) }} {{ '\x7f'|tojson }} {{ 1e400|tojson if false }} {{ [1.0, 1e20, 1e-7, 100000000000000000.0]|tojson }} {{ true|tojson }} {{ (1,2)|tojson }} {{ {'b':1,'a':2}|tojson(sort_keys=true, separators=(',',':')) }}
{{ d.items()|tojson }}
{{ range(3)|tojson }}
{{ l|map('string')|tojson }}
{{ nope|tojson }}
{{ {'a': nope}|tojson }}
{{ {(1,2):3}|tojson }}
{{ users|sort(attribute='n,on') }}
{{ [{'a':2,'b':1},{'a':1,'b':2},{'a':1,'b':1}]|sort(attribute='a,b') }}
{{ users|map(attribute='k.z')|list }}
{{ users|map(attribute='n', foo=1)|list }}
{{ users|max(attribute='n') }} {{ names|max }} {{ names|min(case_sensitive=true) }}
{{ []|max }}|{{ []|min }}|{{ []|last }}|{{ {}|first }}|
{{ ['a']|sum }}
{{ [[1],[2]]|sum(start=[]) }} {{ users|sum(attribute='k.z') if false }} {{ [1.5,2]|sum }}
{{ ['a']|sum(start='') }}
{{ l is sequence }} {{ d is sequence }} {{ d.items() is sequence }} {{ (l|map('string')) is sequence }} {{ range(3) is sequence }} {{ d.items() is iterable }} {{ (l|map('string')) is iterable }} {{ 5 is iterable }} {{ n is iterable }} {{ nope is iterable }} {{ nope is callable }} {{ l is callable }} {{ l.index is callable }} {{ namespace() is mapping }} {{ d is mapping }} {{ nope is mapping }} {{ nope is sequence }} {{ nope is string }} {{ nope is none }}
{{ l is sameas l }} {{ [] is sameas [] }} {{ d is sameas d }} {{ 1 is sameas 1 }} {{ true is sameas 1 }} {{ n is sameas none }}
{{ 'a'.isupper() }} {{ '' is upper }} {{ 'A1' is upper }}
{{ 'abc'[true] }} {{ l[true] }} {{ l[false] }} {{ 'abc'[-1] }} {{ 'abc'[5] }}|{{ 'abc'['upper']() }} {{ l['index'](1) }} {{ d['keys']()|list }}
{{ d.update }}|{{ d.pop }}|{{ d.nope }}|
{{ d.update({'a':1}) }}
{{ d.copy() }} {{ l.copy() }}
{{ -s }}
{{ +s }}
{{ l * 2 }} {{ 'ab' * 0 }} {{ 2 * 'ab' }} {{ l + [4] }} {{ (1,) + (2,) }} {{ l * -1 }}
{{ l + (1,) }}
{{ l - l }}
{{ 1 + n }}
{{ 's' + 1 }}
{{ 1 < 'a' }}
{{ n < 1 }}
{{ [1] < (1,) }}
{{ 1 in n }}
{{ 1 in 's' }}
{{ 'a' in n }}
{{ nope in l }} {{ l in [l] }} {{ 1 in nope }} {{ n in [none] }} {{ 'b' in d.keys() }} {{ ('b',1) in d.items() }} {{ 1 in d.values() }} {{ 3 in (l|select) }}
{{ nope == nope2 }} {{ nope == none }} {{ nope != 1 }} {{ not nope }} {{ nope or 'x' }} {{ nope and 'x' }}|
{{ nope < 1 }}
{{ nope.x }}
{{ nope['x'] }}
{{ d.nope.x }}
{{ s.nope }}|{{ (1).nope }}|{{ n.x }}|{{ n['x'] }}|{{ l['x'] }}|{{ l[1.5] }}|{{ d[l] if false }}
{{ d[[]] }}|
{{ l[none] }}|{{ d[none] }}|{{ 'a'[none] }}|{{ l['0'] }}
{{ 's'.x() }}
{{ s() }}
{{ n() }}
{{ 1() }}
{{ d(1) }}
{{ (l|first) }} {{ l|first|string ~ 'x' }} {{ -l[0]|abs }} {{ not l is string }} {{ l|length == 3 and 'y' }} {{ 1 if l else 2 if n else 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 7 // 2 * 2 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 1 - -1 }} {{ 10 / 4 }} {{ 10 / 5 }} {{ 2 ** 0.5 }} {{ 1e308 * 10 }}
{{ 1 % 0 }}
{{ 1.0 // 0 }}
{{ 'x' if nope }}|{{ ('x' if nope) is defined }}
{{ ('x' if nope).y }}
{% print 'a', 1 %}{% print s %}
{% with %}{% set q=1 %}{{ q }}{% endwith %}{{ q }}|{% with a=1, b=a %}{{ a }}{{ b }}{% endwith %}
{% set a=5 %}{% with a=1, b=a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% if true %}{% set a=1 %}{% endif %}{{ a }}{% for i in [1] %}{% set a=2 %}{{ a }}{% endfor %}{{ a }}{% for i in [1,2] %}{{ a }}{% set a=i+5 %}{{ a }}{% endfor %}
{% set a=0 %}{% macro m() %}{% set a=1 %}{{ a }}{% endmacro %}{{ m() }}{{ a }}
{% for x in l %}{% set loop2=loop %}{% for y in l %}{{ loop2.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for x in l if loop.index > 1 %}{{ x }}{% endfor %}
{% for k, v in d|items %}{{ k }}{% endfor %}{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}
{% for a in l %}{% for b in names if b != 'A' %}{{ a }}{{ b }}{% else %}E{% endfor %}{% endfor %}
{% for a, b in [1,2] %}{{ a }}{% endfor %}
{% for a, b in [(1,2,3)] %}{{ a }}{% endfor %}
{% set a, b = [1] %}
{{ m(*[1,2]) if false }}{% macro m(a,b,c=3) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1,2]) }}{{ m(1, **{'b':5}) }}{{ m(*[1], **{'b':2,'c':9}) }}{{ m(1, b=2, *[]) if false }}
{{ range(*[1,4])|list }} {{ dict(**{'a':1}) }} {{ '{}{}'.format(*['a','b']) }} {{ '%s'|format(*['a']) }}
{% set j=joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}
{% set c=cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11, false, '..', 0) }} {{ 'a b'|wordcount }} {{ 'x'|center(5) }}| {{ 'a b/ü&'|urlencode }} {{ {'a b':'c&d','e':1}|urlencode }} {{ [('a',1)]|urlencode }} {{ 1000|filesizeformat }} {{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 123456789|filesizeformat }} {{ 123456789|filesizeformat(true) }} {{ 'a'|attr('upper') is callable }} {{ d|attr('b') }}|
{{ s|attr('nope') }}|{{ d|attr('items') is callable }}
{{ '1'|int is integer }} {{ 1.0 is integer }} {{ true is integer }} {{ true is number }} {{ 'a' is number }} {{ 1 is float }} {{ 4 is divisibleby 2 }} {{ 3 is odd }} {{ 'x' is in 'xyz' }} {{ 1 is in [1] }} {{ 1 is not in [2] }} {{ 1 is eq(1) }} {{ 1 is ne 2 }} {{ 2 is gt 1 }} {{ 2 is lessthan 3 }} {{ 'nofilter' is filter }} {{ 'defined' is test }}
{{ 'x' is odd }}
{{ [1,2,3]|select('divisibleby', 2)|list }} {{ [1,2,3]|select('in',[1,3])|list }} {{ ['a',1]|select('string')|list }} {{ [none,1]|reject('none')|list }} {{ users|selectattr('k','mapping')|map(attribute='n')|list }} {{ users|selectattr('k.z','eq',1)|list|length }}
{{ users|selectattr('k.z')|list }}
{{ users|selectattr('nope.x')|list }}
{{ ['b','a']|sort|join }} {{ d|list }} {{ d|join(',') }} {{ d|length }} {{ 'abc'|join('-') }} {{ d|first }} {{ d|last }} {{ (d.items()|first)[0] }} {{ d.keys()|last }} {{ 'abc'|last }} {{ 'abc'|sort }} {{ 'hello'|unique|join }} {{ 'abc'|max }}
{{ [1,'a']|sort }}
{{ [[1],[1]]|unique|list }}
{{ l|default('x') }} {{ n|default('x') }} {{ n|default('x',true) }} {{ nope|default }}| {{ nope|default(none) }} {{ d.nope|default('q') }} {{ nope.x|default('q') if false }}
{{ nope.x|default('q') }}
{{ loop is defined }} {{ caller is defined }} {{ varargs is defined }} {{ range is defined }} {{ messages is defined }}
{{ True }} {{ False }} {{ None }} {{ TRUE }}|{{ NONE }}|{{ Null }}|
{{ 'a'
 ~ 'b' }}{{ [1,
2,] }}{{ (1,) }}{{ {'a':1,} }}{{ m if false }}
{{ 1,2 }} {{ (1,2)|length }} {{ (1,2)[0] }} {{ () }} {{ ((1)) }} {{ [(1,2),(3,4)][1][0] }}
{% set x = 1, 2 %}{{ x }}{% set (a, b) = (1, 2) %}{{ a }}{{ b }}
{% set a = b = 1 %}
{% if 1 in [1,2] and not 3 in [1] %}y{% endif %}{% if not (1 in [2]) %}z{% endif %}{% if 1 not in [2] %}w{% endif %}
{{ 1 == 1 == 1 }} {{ 1 < 2 > 1 }} {{ 3 > 2 > 2 }} {{ 1 in [1] in [[1]] }}
{{ {1:'a', '1':'b', true:'c', none:'d'} }} {{ {1:'a'}[1] }} {{ {1:'a'}[true] }} {{ {1:'a'}['1'] }}| {{ {'a':1}.a }} {{ {'keys':1}.keys is callable }} {{ {'keys':1}['keys'] }}
{{ ['a\\b', "a'b", 'a"b', 'a\'"b', '\t\n\r\x00\x7f\xa0\u2028\U0001F600é'] }}
{{ 'é'|upper }} {{ 'ÀÉ'|lower }} {{ 'straße'|upper }} {{ 'ŉ'|upper }} {{ 'ﬁ'|upper }} {{ 'İ'|lower|length }} {{ 'ǆ'|capitalize }} {{ 'ΑΣ'|lower }} {{ "it's"|title }} {{ "it's".title() }} {{ 'x-y z_w'|title }} {{ 'a1b'.title() }} {{ 'HELLO world'.capitalize() }}
{{ 'a  b'.split(' ') }} {{ ' a '.split() }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a,b'.split(sep=',') }} {{ 'a,b,c'.rsplit(',',maxsplit=1) }} {{ 'a b c'.rsplit(none,1) }} {{ 'a\u2003b'.split() }}
{{ 'abc'.replace('b','') }} {{ 'aaa'.replace('a','b',1) }} {{ 'abc'.replace('','-',2) }} {{ 'xabcx'.strip('xa') }} {{ 'aaa'.lstrip('a') }}|{{ 'abc'.removeprefix('a').removesuffix('c') }} {{ ','.join(names) }} {{ ','.join('abc') }} {{ ','.join(d) }}
{{ ','.join([1]) }}
{{ 'a'.join(n) }}
{{ 'abc'.split('b', 1)[1] }} {{ 'k: v'.split(': ')|last }} {{ ('a','b')|join }} {{ s.strip()[0:3] }} {{ s[:-1][1:] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[4:1:-1] }} {{ l[-5:5] }} {{ l[1:none] }} {{ (1,2,3)[1:] }}
{{ d[1:] }}
{{ n[1:] }}
{{ nope[1:] }}
{{ l['a':] }}
{{ l[::0] }}
{%- set x %}a{% for i in l %}{{ i }}{% endfor %}{% endset %}{{ x }}{{ x is string }}{{ x|length }}
{% set x | upper %}a{% endset %}{{ x }}{% set x|replace('a','b')|upper %}aa{% endset %}{{ x }}
{% generation %}{% set zz=1 %}{{ zz }}{% endgeneration %}{{ zz }}|
{% for i in l %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}
{{ {} | tojson }} {{ [] | tojson(indent=2) }} {{ {'a':[],'b':{}}|tojson(indent=2) }} {{ "a/b</script>&'"|tojson }} {{ none|tojson }}
{{ users[0]|tojson }} {{ users|map('tojson')|join(' ') }} {{ users|map(attribute='n')|map('upper')|list|tojson }}
{{ raise_exception('x') }}
{{ raise_exception() }}
{{ range(100001) }}
{{ "a" "b" }} {{ 'a' ~ 'b' 'c' }} {{ 'a'.upper() 'b' if false }}
{{ l|map('default','x')|list }} {{ [nope,1]|map('default','x')|list }} {{ l|map('string')|map('upper')|join }} {{ [[1,2],[3]]|map('first')|list }} {{ [[1,2],[3]]|map('sum')|list }} {{ [[1,2],[3]]|map(attribute=0)|list }} {{ [[1,2],[3]]|map(attribute='1', default='-')|list }} {{ l|map('round',1)|list }} {{ ['a b']|map('replace',' ','_')|list }}
{{ l|map('nofilter')|list }}
{{ l|select('notest')|list }}
{{ l|map|list }}
{{ l|map('upper', attribute='x')|list }}
{{ 'abc'|batch(2)|list }} {{ 'ab' is iterable }} {{ 'x'|list }} {{ {}|items|list }} {{ 5 is divisibleby(5) }} {{ l|length|string + 'x' }}
{{ 5|items|list }}
{{ 'a.b'|attr('split')('.') }} {{ l|attr('index')(1) }}
{% for i in range(3) %}{{ i }}{% if i == 1 %}{% break %}{% endif %}{% endfor %}{% for i in range(4) %}{% if i is odd %}{% continue %}{% endif %}{{ i }}{% endfor %}
{% for x in 'ab' %}{{ loop.previtem is defined }}{{ loop.nextitem|default('-') }}{% endfor %}
{% for i in l %}{{ loop.revindex0 }}{{ loop.depth0 }}{{ loop.cycle('a','b') }}{% break %}{% endfor %}
""".strip("\n").split("\n")

# Several lines belong together.
MULTILINE = [
    "  {% if t %}\n  yes\n  {% else %}\n  no\n  {% endif %}\nend\n",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\nlast\n\n",
    "a\n{#- x #}\n b\n  {# y -#}\n c\n   {# z #}\n d",
    "x {%- set q = 1 %}\n\n  {%- set r = 2 -%}\n\n y",
    "\n\n{% if t %}\n\n a\n{%- endif %}\n\nb\r\nc\rd",
    "{% macro a(x) -%}\n  <{{ x }}>\n{%- endmacro %}\n{{ a(1) }}\n  {{- a(2) }}\n",
    "{% if t +%}\nnewline{% endif %}\n\t {%+ if t %} kept {%+ endif %} x",
    "{%- for m in users -%}\n  {{ m.n }}\n{%- if not loop.last %}, {% endif -%}\n{%- endfor -%}\n.",
    "{{ '\n' }}|{{ 'a\n  b' }}",
    "{% set x %}\n  in\n{% endset %}\n[{{ x }}]",
    "{% raw -%}\n  a {{ b }}\n{%- endraw %}\nc",
]
WIDE_LINES = ["{% filter indent(2, first=true) %}a\nb\n\nc{% endfilter %}", "{{ 'a'\n ~ 'b' }}{{ [1,\n2,] }}"]
ERRORS = ["{% if z %}{{ z|nofilter }}{% endif %}ok", "{{ (z|nofilter) if z else 1 }}", "{% if t %}{{ z|nofilter }}{% endif %}", "{{ raise_exception('no') }}", "{{ nope.x }}", "{{ 1 + 'a' }}", "{{ nope + 1 }}", "{{ 1 / 0 }}", "{% if %}", "{{ }}",
          "{{ 'a }}", "{% for x in l %}", "{% endif %}", "{{ l | nofilter }}", "{{ l is notest }}", "{{ nope() }}", "{{ 'a'() }}",
          "{{ (1 }}", "{% set l.x = 1 %}", "{{ 3 | tojson(3, 4, 5, 6, 7) }}", "{{ nope | tojson }}", "{{ 'a' < 1 }}", "{{ 5[0:1] }}",
          "{% unknown %}", "{{ d[:1] }}", "{{ range(1000000) }}", "{{ 1 if }}", "{# open", "{{ a b }}", "{{ 'x'.split('') }}", "{% break %}",
          "{{ for }}{% for x in 5 %}{% endfor %}", "{{ {[]: 1} }}", "{{ 1 in 5 }}", "{% macro m(a=1, b) %}{% endmacro %}",
          "{{ l[::0] }}", "{% macro r() %}{{ r() }}{% endmacro %}{{ r() }}"]


def main():
    env = environment()
    templates, cases = {}, []

    def add(name, source, context):
        templates[name] = source
        try:
            case = {"expected": env.from_string(source).render(**context)}
        except (jinja2.exceptions.TemplateError, TypeError, ValueError, ZeroDivisionError, OverflowError,
                RecursionError, SyntaxError, jinja2.exceptions.SecurityError, AttributeError, KeyError, IndexError) as e:
            case = {"error": str(e)[:80]}
        cases.append({"template": name, "context": context, **case})

    special = {"bos_token": "<s>", "eos_token": "</s>"}
    for name, source in STYLES.items():
        for messages in (PLAIN, LONG, NO_SYSTEM, CALLS, BAD_ORDER, PARTS, THOUGHTS):
            for extra in ({"add_generation_prompt": True, "tools": None, "documents": None}, {"add_generation_prompt": False, "tools": TOOLS},
                          {"add_generation_prompt": True, "enable_thinking": False, "controls": {"length": "short"}}):
                add(name, source, {"messages": messages, **special, **extra})
    for i, source in enumerate(PIECES + MULTILINE + ERRORS):
        add("piece %d" % i, source, SMALL)
    for i, source in enumerate(WIDE_PIECES + WIDE_LINES):
        add("wide %d" % i, source, WIDE)
    for case in cases:
        for name, context in (("small", SMALL), ("wide", WIDE)):
            if case["context"] is context:
                case["context"] = name
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "chat_templates.json"), "w", encoding="utf-8") as f:
        json.dump({"small": SMALL, "wide": WIDE, "templates": templates, "cases": cases}, f, ensure_ascii=True, indent=0)
        f.write("\n")
    print(len(cases), "cases,", sum("error" in c for c in cases), "of them errors")
    for c in cases:
        if "error" in c and c["template"].startswith("piece") and templates[c["template"]] not in ERRORS:
            print("unexpected:", templates[c["template"]][:100], "->", c["error"])


if __name__ == "__main__":
    main()
