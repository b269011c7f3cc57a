#!/usr/bin/env python3
"""Renders chat templates and language cases with Jinja2, as Transformers sets it up, into
tests/data/template/. Needs jinja2; SmolLM2's template comes from a GGUF file (needs gguf).

  template_fixtures.py TEMPLATE_FOLDER SMOLLM2.gguf
"""
import json
import os
import sys

from jinja_env import environment, render
from template_cases import EXPR, LIMITS, TEXT, VARS

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "template")
# Whole texts are kept of these; of the others length and FNV-1a.
WHOLE = ("Llama-3.1", "Llama-3.2-3B", "Llama-3.3", "Qwen2.5", "Qwen3-0.6B", "SmolLM2")

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather \"now\" in a <city> & more: é",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Name of the city"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 14},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "tags": {
            "type": "array", "items": {"type": "string"}}}}}}}}
SEARCH = {"type": "function", "function": {"name": "search", "description": "Find", "parameters": {
    "type": "object", "properties": {"q": {"type": "string"}}}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(arguments, name="get_weather", ident="call_000001"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    sys_ = {"role": "system", "content": "You are Bob."}
    args = {"city": "Köln", "days": 3, "where": {"lat": 50.9, "tags": ["a", "b"]}, "x": None, "y": True}
    tool = {"role": "tool", "name": "get_weather", "tool_call_id": "call_000001", "content": "{\"t\": 21.5}"}
    trip = [user("Weather?"), assistant("", tool_calls=[call(args)]), tool, assistant("21.5 degrees."), user("Thanks\n")]
    base = {
        "one": [user("Hi")],
        "system": [sys_, user("  Hi there \n")],
        "developer": [{"role": "developer", "content": "Be brief."}, user("Hi")],
        "turns": [sys_, user("Hi"), assistant("Hello!"), user("How are <|you|>?"), assistant("Fine"), user("日本語 🎉")],
        "ends_assistant": [user("Hi"), assistant("Hello")],
        "reasoning": [user("2+2?"), assistant("4", reasoning_content="It is four."), user("And 3+3?"),
                      assistant("<think>\nsix\n</think>\n\n6"), user("ok")],
        "parts": [{"role": "user", "content": [{"type": "text", "text": "What"}, {"type": "text", "text": " now?"}]}],
        "image": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
        "null": [user("Hi"), assistant(None), user("Again")],
        "two_users": [user("a"), user("b")],
        "empty": [],
        "system_only": [sys_],
        "odd_role": [{"role": "critic", "content": "no"}, user("Hi")],
    }
    tools = {
        "tools_one": [user("Weather?")],
        "tools_system": [sys_, user("Weather?")],
        "tools_trip": [sys_] + trip,
        "tools_string_arguments": [user("w"), assistant("", tool_calls=[call(json.dumps(args))]), tool],
        "tools_null_content": [user("w"), assistant(None, tool_calls=[call(args)]), tool],
        "tools_two_calls": [user("w"), assistant("Let me see.", tool_calls=[call({"city": "A"}), call({"q": "b"}, "search", "call_000002")]),
                            tool, {**tool, "name": "search", "tool_call_id": "call_000002", "content": "none"}],
        "tools_reasoning": [user("w"), assistant("", reasoning_content="think", tool_calls=[call({"city": "A"})]), tool],
        "tools_result_in_parts": [user("w"), assistant("", tool_calls=[call(args)]), {**tool, "content": [{"type": "text", "text": "21"}, {"type": "text", "text": ".5"}]}],
        "tools_developer": [{"role": "developer", "content": "Be brief."}, user("w")],
        "tools_two_turns": trip + [assistant("", tool_calls=[call({}, ident="call_000003")]), {**tool, "tool_call_id": "call_000003"}],
    }
    for name, messages in base.items():
        for more in ({"add_generation_prompt": True}, {"add_generation_prompt": False}):
            yield name, {"messages": messages, **more}
    for name in ("one", "turns", "reasoning"):
        for on in (True, False):
            yield name, {"messages": base[name], "add_generation_prompt": True, "enable_thinking": on, "thinking": on}
    for name, messages in tools.items():
        for on in (True, False):
            yield name, {"messages": messages, "tools": [WEATHER, SEARCH], "add_generation_prompt": on}
    yield "tools_in_system", {"messages": tools["tools_trip"], "tools": [WEATHER], "tools_in_user_message": False, "add_generation_prompt": False,
                              "date_string": "01 Jan 2025", "custom_tools": None}


def fnv(text):
    h = 0xcbf29ce484222325
    for b in text.encode():
        h = (h ^ b) * 0x100000001b3 % (1 << 64)
    return "%016x" % h


def smollm2(path):
    from gguf import GGUFReader
    field = GGUFReader(path).fields["tokenizer.chat_template"]
    return bytes(field.parts[field.data[0]]).decode()


def write(name, value):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=0, separators=(",", ":"))
        f.write("\n")


def main():
    env = environment()
    folder, gguf = sys.argv[1:3]
    own = {"bos_token": "<s>", "eos_token": "</s>"}
    runs = [{"name": n, "vars": {**v, **own}} for n, v in conversations()]
    sources = {f: open(os.path.join(folder, f), encoding="utf-8", newline="").read()
               for f in sorted(os.listdir(folder)) if f.endswith(".jinja")}
    sources["SmolLM2-135M-Instruct"] = smollm2(gguf)
    templates, counts = [], {}
    for name, source in sources.items():
        results = []
        for run in runs:
            kind, text = render(env, source, run["vars"])
            counts[kind] = counts.get(kind, 0) + 1
            result = {"kind": kind}
            if kind == "raised" or (kind == "ok" and any(w in name for w in WHOLE)):
                result["text"] = text
            elif kind == "ok":
                result.update(bytes=len(text.encode()), fnv=fnv(text))
            results.append(result)
        entry = {"file": name, "results": results}
        if name.startswith("SmolLM2"):
            entry["source"] = source
        templates.append(entry)
    write("templates.json", {"runs": runs, "templates": templates})
    cases, limits = [], ["{{ %s }}" % e for e in LIMITS]
    for source in ["{{ %s }}" % e for e in EXPR] + TEXT:
        kind, text = render(env, source, VARS)
        if " at 0x" in text:
            kind = "opaque"  # an address; only that it renders is compared
        if source in limits:
            kind = "error"
        cases.append({"template": source, "kind": kind, **({"text": text} if kind in ("ok", "raised") else {})})
    write("cases.json", {"vars": VARS, "cases": cases})
    print("%d templates x %d runs: %s; %d cases" % (len(templates), len(runs), counts, len(cases)))


main()
