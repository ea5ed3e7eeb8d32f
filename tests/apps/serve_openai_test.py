"""klens serve as OpenAI's own client for Python sees it. Run by ctest through tests/python-env.sh; by hand
KLENS_PROGRAM=build/release/apps/klens KLENS_DEMO_MODEL=apps/demo-model/wiki-mamba \
    bash tests/python-env.sh -m pytest tests/apps/serve_openai_test.py"""

import json
import os
import pathlib
import signal
import subprocess

import openai
import pytest

TEMPLATE = (
    "{%- if tools %}<tools>{{ tools | tojson }}</tools>{% endif -%}"
    "{%- for m in messages -%}<{{ m.role }}>{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}</{{ m.role }}>\n"
    "{% endfor -%}{%- if add_generation_prompt -%}<assistant>{% if thinking %}<think>\n{% endif %}{% endif -%}"
)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me of the river."}]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    model = tmp_path_factory.mktemp("model") / "wiki-chat"
    model.mkdir()
    for file in pathlib.Path(os.environ["KLENS_DEMO_MODEL"]).resolve().iterdir():
        (model / file.name).symlink_to(file)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    command = [os.environ["KLENS_PROGRAM"], "serve", str(model), "--port", "0", "--json", "--api-key", "secret"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        said = ""
        while "}" not in said:
            said += process.stdout.readline() or pytest.fail("klens serve did not start")
        yield json.loads(said)["url"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=served + "/v1", api_key="secret", max_retries=0)


def test_models(client):
    assert [model.id for model in client.models.list()] == ["wiki-chat"]
    assert client.models.retrieve("wiki-chat").owned_by == "klens"


def test_completions(client):
    made = client.completions.create(model="wiki-chat", prompt="The river", max_tokens=8, temperature=0, logprobs=2)
    choice = made.choices[0]
    assert choice.finish_reason == "length" and made.usage.completion_tokens == 8
    assert len(choice.logprobs.tokens) == 8 and "".join(choice.logprobs.tokens) == choice.text
    stream = client.completions.create(model="wiki-chat", prompt="The river", max_tokens=8, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == choice.text


def test_chat(client):
    asked = {"model": "wiki-chat", "messages": MESSAGES, "max_completion_tokens": 10, "seed": 3}
    whole = client.chat.completions.create(n=2, logprobs=True, top_logprobs=3, **asked)
    assert len(whole.choices) == 2 and whole.usage.completion_tokens == 20
    assert len(whole.choices[0].logprobs.content) == 10
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 3
    text, usage = "", None
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content and usage.completion_tokens == 10


def test_thoughts(client):
    asked = {"model": "wiki-chat", "messages": MESSAGES, "max_tokens": 6, "seed": 3}
    extra = {"chat_template_kwargs": {"thinking": True}}
    message = client.chat.completions.create(extra_body=extra, **asked).choices[0].message
    assert message.content == "" and message.reasoning_content


def test_a_conversation_with_tools(client):
    messages = MESSAGES + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "123456789", "type": "function", "function": {"name": "get_weather", "arguments": '{"place": "Paris"}'}}]},
        {"role": "tool", "tool_call_id": "123456789", "content": "Rain."},
    ]
    made = client.chat.completions.create(model="wiki-chat", messages=messages, tools=[TOOL], max_tokens=4)
    assert made.choices[0].finish_reason == "length"
    client.chat.completions.create(model="wiki-chat", messages=messages, tools=[TOOL], tool_choice="none", max_tokens=4)


def test_responses(client):
    made = client.responses.create(model="wiki-chat", instructions="Be brief.", input="Tell me of the river.",
                                   max_output_tokens=8, temperature=0)
    assert made.status == "incomplete" and made.incomplete_details.reason == "max_output_tokens"
    assert made.output_text and made.usage.output_tokens == 8
    chat = client.chat.completions.create(model="wiki-chat", messages=MESSAGES, max_tokens=8, temperature=0)
    assert made.output_text == chat.choices[0].message.content
    events = list(client.responses.create(
        model="wiki-chat", max_output_tokens=8, temperature=0, stream=True, tools=[{"type": "web_search"}],
        input=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Tell me of the river."}]))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.incomplete"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == made.output_text
    assert events[-1].response.output_text == made.output_text
    calling = [{"role": "user", "content": "Rain?"},
               {"type": "function_call", "call_id": "123456789", "name": "get_weather", "arguments": '{"place": "Paris"}'},
               {"type": "function_call_output", "call_id": "123456789", "output": "Rain."}]
    tool = {"type": "function", "name": "get_weather", "parameters": TOOL["function"]["parameters"]}
    assert client.responses.create(model="wiki-chat", input=calling, tools=[tool], max_output_tokens=4).output_text


def test_json_schema(client):
    schema = {"type": "object", "properties": {"river": {"enum": ["Seine", "Rhine"]}}, "required": ["river"],
              "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "river", "schema": schema, "strict": True}}
    made = client.chat.completions.create(model="wiki-chat", messages=MESSAGES, response_format=form)
    assert json.loads(made.choices[0].message.content)["river"] in ("Seine", "Rhine")
    form = {"format": {"type": "json_schema", "name": "river", "schema": schema, "strict": True}}
    made = client.responses.create(model="wiki-chat", input="Which river?", text=form)
    assert json.loads(made.output_text)["river"] in ("Seine", "Rhine")


def test_a_tool_that_must_be_called(client):
    tool = json.loads(json.dumps(TOOL))
    tool["function"]["parameters"]["properties"]["place"] = {"enum": ["Paris", "Lyon"]}
    made = client.chat.completions.create(model="wiki-chat", messages=MESSAGES, tools=[tool], tool_choice="required")
    call = made.choices[0].message.tool_calls[0].function
    assert made.choices[0].finish_reason == "tool_calls" and call.name == "get_weather"
    assert json.loads(call.arguments)["place"] in ("Paris", "Lyon")
    now = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    named = {"type": "function", "function": {"name": "now"}}
    chunks = client.chat.completions.create(model="wiki-chat", messages=MESSAGES, tools=[tool, now], tool_choice=named,
                                            stream=True)
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [("now", {})]
    flat = {"type": "function", **tool["function"]}
    made = client.responses.create(model="wiki-chat", input="Rain?", tools=[flat], tool_choice="required")
    assert made.output[0].type == "function_call" and json.loads(made.output[0].arguments)["place"] in ("Paris", "Lyon")


def test_embeddings(client):
    made = client.embeddings.create(model="wiki-chat", input=["The river", "In the spring"])
    assert len(made.data) == 2 and len(made.data[0].embedding) == 256
    plain = client.embeddings.create(model="wiki-chat", input="The river", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(made.data[0].embedding)


def test_errors(client, served):
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="wiki-chat", input="Hello", previous_response_id="resp_1")
    with pytest.raises(openai.BadRequestError, match="temperature") as caught:
        client.chat.completions.create(model="wiki-chat", messages=MESSAGES, temperature=-1)
    assert caught.value.body["param"] == "temperature" and caught.value.body["type"] == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="type text only"):
        client.chat.completions.create(model="wiki-chat", messages=[
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=served + "/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
