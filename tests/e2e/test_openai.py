"""The official openai client against the real program and the real default model."""

import concurrent.futures

import openai
import pytest

ASK = [{'role': 'user', 'content': 'What is gravity? Answer in one sentence.'}]


@pytest.fixture(scope='module')
def client(chat):
    return openai.OpenAI(base_url=chat.url + '/v1', api_key='none', max_retries=0)


def test_models(client):
    (model,) = client.models.list().data
    assert model.object == 'model' and model.owned_by
    assert client.models.retrieve(model.id).id == model.id
    assert model.max_model_len == 8192
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve('no/such-model')


def test_chat(client):
    reply = client.chat.completions.create(model='any', messages=ASK, temperature=0, max_tokens=40)
    (choice,) = reply.choices
    assert reply.object == 'chat.completion'
    assert choice.message.role == 'assistant'
    assert 'Gravity' in choice.message.content
    assert choice.finish_reason in ('stop', 'length')
    assert reply.usage.prompt_tokens > 20
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.model == client.models.list().data[0].id


def test_stream_is_the_same_text(client):
    whole = client.chat.completions.create(model='any', messages=ASK, temperature=0, max_tokens=40)
    stream = client.chat.completions.create(
        model='any', messages=ASK, temperature=0, max_tokens=40, stream=True, stream_options={'include_usage': True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == 'assistant'
    text = ''.join(c.choices[0].delta.content or '' for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert reasons == [whole.choices[0].finish_reason]
    assert len({c.id for c in chunks}) == 1
    assert all(c.usage is None for c in chunks[:-1])


def test_no_usage_chunk_unless_asked(client):
    stream = client.chat.completions.create(model='any', messages=ASK, max_tokens=3, stream=True)
    assert all(len(c.choices) == 1 for c in stream)


def test_logprobs(client):
    reply = client.chat.completions.create(
        model='any', messages=ASK, temperature=0, max_tokens=5, logprobs=True, top_logprobs=4
    )
    content = reply.choices[0].logprobs.content
    assert ''.join(t.token for t in content) == reply.choices[0].message.content
    for token in content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 4
        assert token.top_logprobs[0].token == token.token  # greedy
        assert bytes(token.bytes).decode() == token.token
        values = [t.logprob for t in token.top_logprobs]
        assert values == sorted(values, reverse=True)


def test_choices_and_seeds(client):
    def ask(seed):
        reply = client.chat.completions.create(
            model='any', messages=ASK, temperature=1.2, max_tokens=16, n=3, seed=seed
        )
        return [c.message.content for c in sorted(reply.choices, key=lambda c: c.index)]

    first = ask(7)
    assert len(set(first)) == 3
    assert ask(7) == first
    assert ask(8) != first


def test_stop_strings(client):
    whole = client.chat.completions.create(model='any', messages=ASK, temperature=0, max_tokens=40)
    word = whole.choices[0].message.content.split()[3]
    cut = client.chat.completions.create(model='any', messages=ASK, temperature=0, max_tokens=40, stop=[word, 'never'])
    assert cut.choices[0].finish_reason == 'stop'
    assert cut.choices[0].message.content == whole.choices[0].message.content.split(word)[0]


def test_completions(client):
    reply = client.completions.create(model='any', prompt='The capital of France is', temperature=0, max_tokens=4)
    assert reply.object == 'text_completion'
    assert 'Paris' in reply.choices[0].text
    chunks = list(
        client.completions.create(
            model='any', prompt='The capital of France is', temperature=0, max_tokens=4, stream=True
        )
    )
    assert ''.join(c.choices[0].text for c in chunks) == reply.choices[0].text


def test_completions_echo_and_logprobs(client):
    """What lm-eval asks: the log-probability of each prompt token, one token generated."""
    reply = client.completions.create(
        model='any', prompt='The capital of France is Paris', temperature=0, max_tokens=1, echo=True, logprobs=2
    )
    lp = reply.choices[0].logprobs
    assert reply.choices[0].text.startswith('The capital of France is Paris')
    assert lp.token_logprobs[0] is None and lp.top_logprobs[0] is None
    assert all(v <= 0 for v in lp.token_logprobs[1:])
    assert ''.join(lp.tokens) == reply.choices[0].text
    assert lp.text_offset == [len(''.join(lp.tokens[:i])) for i in range(len(lp.tokens))]
    assert all(len(t) >= 2 for t in lp.top_logprobs[1:])


def test_batched_prompts(client):
    prompts = ['One, two,', 'Red, green,', 'Monday, Tuesday,']
    many = client.completions.create(model='any', prompt=prompts, temperature=0, max_tokens=6)
    assert [c.index for c in many.choices] == [0, 1, 2]
    for prompt, choice in zip(prompts, many.choices):
        one = client.completions.create(model='any', prompt=prompt, temperature=0, max_tokens=6)
        assert one.choices[0].text == choice.text


def test_company_changes_nothing(client):
    def ask(i):
        return client.chat.completions.create(
            model='any', messages=[{'role': 'user', 'content': f'Count from {i} to {i + 5}.'}], temperature=0, max_tokens=24
        ).choices[0].message.content

    alone = [ask(i) for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == alone


def test_cached_tokens(client):
    long = [{'role': 'user', 'content': 'Remember: ' + ' '.join(str(i * 37) for i in range(80))}]
    first = client.chat.completions.create(model='any', messages=long, temperature=0, max_tokens=8)
    turn = long + [
        {'role': 'assistant', 'content': first.choices[0].message.content},
        {'role': 'user', 'content': 'Go on.'},
    ]
    second = client.chat.completions.create(model='any', messages=turn, temperature=0, max_tokens=8)
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert cached >= first.usage.prompt_tokens // 16 * 16 - 16


def test_context_overflow(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model='any', messages=ASK, max_tokens=100000)
    assert caught.value.code == 'context_length_exceeded'
    assert '8192' in str(caught.value) and '1000' in str(caught.value)


def test_not_built_yet_is_said(client):
    tool = {'type': 'function', 'function': {'name': 'f', 'parameters': {'type': 'object', 'properties': {}}}}
    for extra, field in [
        ({'response_format': {'type': 'json_object'}}, 'response_format'),
        ({'tools': [tool], 'tool_choice': 'required'}, 'tool_choice'),
        ({'extra_body': {'guided_json': {}}}, 'guided_json'),
    ]:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model='any', messages=ASK, max_tokens=4, **extra)
        assert field in caught.value.param


def test_image_parts_are_named(client):
    part = {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,AAAA'}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model='any', messages=[{'role': 'user', 'content': [{'type': 'text', 'text': 'see'}, part]}], max_tokens=4
        )
    assert caught.value.param.startswith('messages[0].content[1]')
