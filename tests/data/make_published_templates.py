"""Writes published_templates.json: checksums of what Jinja makes of others' chat templates, which are not ours to keep: the
folder models/templates of llama.cpp's source has some seventy. The test reads them where KLENS_TEMPLATES says.

    python3 make_published_templates.py FOLDER     (needs jinja2 and xxhash)
"""
import json
import os
import sys

import xxhash

from make_chat_templates import CALL, CALLS, LONG, NO_SYSTEM, PARTS, PLAIN, TOOLS, environment

THOUGHT = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4", "reasoning_content": "Two and two."},
    {"role": "user", "content": "And the weather?"},
    {"role": "assistant", "content": "I ask.", "reasoning_content": "A tool is\nneeded.",
     "tool_calls": [{"id": "call00001", **CALL}, {"id": "call00002", "type": "function",
                                                  "function": {"name": "now", "arguments": {}}}]},
    {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"t\": 7.5}"},
    {"role": "tool", "tool_call_id": "call00002", "name": "now", "content": "12:00"},
]
TEXT_ARGUMENTS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "call00001", "type": "function", "function": {
        "name": "get_weather", "arguments": "{\"place\": \"Bonn\", \"list\": [1, true, null]}"}}]},
    {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "cold"},
]
SYSTEM_ALONE = [{"role": "system", "content": "Say nothing."}]


def contexts():
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    for messages in (PLAIN, LONG, NO_SYSTEM, CALLS, PARTS, THOUGHT, TEXT_ARGUMENTS, SYSTEM_ALONE):
        for extra in ({"add_generation_prompt": True}, {"add_generation_prompt": False, "tools": TOOLS},
                      {"add_generation_prompt": True, "tools": TOOLS, "enable_thinking": True, "thinking": True},
                      {"add_generation_prompt": True, "enable_thinking": False, "thinking": False,
                       "documents": [{"title": "A", "text": "b", "doc_id": "1"}]}):
            yield {"messages": messages, "tools": None, "documents": None, **special, **extra}


def rendered(source, context, date):
    env = environment()
    env.globals["strftime_now"] = lambda form: date
    try:
        return xxhash.xxh3_64_hexdigest(env.from_string(source).render(**context).encode("utf-8"))
    except Exception:  # a template that refuses a context, in whatever way
        return "refused"


def main():
    folder, templates = sys.argv[1], {}
    cases = list(contexts())
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".jinja"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8", newline="") as file:
            source = file.read()
        results = []
        for context in cases:
            one, other = (rendered(source, context, date) for date in ("5 May 2026", "6 June 2027"))
            results.append(one if one == other else "dated")
        templates[name] = {"source": xxhash.xxh3_64_hexdigest(source.encode("utf-8")), "renderings": results}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published_templates.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump({"contexts": cases, "templates": templates}, file, indent=0)
        file.write("\n")
    kinds = [result for template in templates.values() for result in template["renderings"]]
    print(len(templates), "templates,", len(kinds), "renderings,", kinds.count("refused"), "refused,", kinds.count("dated"), "with a date")


if __name__ == "__main__":
    main()
