/* test_bad_input.c - one row for each way a body can be wrong: status, param and a part of the
 * message. Whatever a client sends, the answer is a 4xx that names the field, never a 500. */
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "tests/api/fake/floor.h"
#include "tests/support/test.h"

struct bad {
    const char *body; /* behind the fixed beginning of the endpoint */
    int status;
    const char *param; /* NULL: null */
    const char *part;  /* of the message */
};

/* clang-format off */
static const struct bad common[] = {
    {"\"model\":5",                        400, "model",             "must be a string, got a number"},
    {"\"temperature\":\"hot\"",            400, "temperature",       "must be a number, got a string"},
    {"\"temperature\":-0.1",               400, "temperature",       "at least 0 and at most 100, got -0.1"},
    {"\"temperature\":1e999",              400, "temperature",       "out of range: 1e999"},
    {"\"top_p\":1.5",                      400, "top_p",             "at most 1"},
    {"\"top_k\":-2",                       400, "top_k",             "at least -1"},
    {"\"top_k\":1.5",                      400, "top_k",             "64-bit integer, got 1.5"},
    {"\"min_p\":2",                        400, "min_p",             "at most 1"},
    {"\"presence_penalty\":2.1",           400, "presence_penalty",  "at least -2 and at most 2"},
    {"\"frequency_penalty\":-3",           400, "frequency_penalty", "at least -2 and at most 2"},
    {"\"repetition_penalty\":0",           400, "repetition_penalty","above 0 and at most 2"},
    {"\"n\":0",                            400, "n",                 "at least 1 and at most 128"},
    {"\"n\":129",                          400, "n",                 "at least 1 and at most 128"},
    {"\"n\":true",                         400, "n",                 "an integer, got a boolean"},
    {"\"seed\":1e300",                     400, "seed",              "64-bit integer"},
    {"\"seed\":\"x\"",                     400, "seed",              "an integer, got a string"},
    {"\"max_tokens\":-1",                  400, "max_tokens",        "at least 0"},
    {"\"max_tokens\":\"9\"",               400, "max_tokens",        "an integer, got a string"},
    {"\"max_completion_tokens\":-1",       400, "max_completion_tokens", "at least 0"},
    {"\"max_output_tokens\":{}",           400, "max_output_tokens", "an integer, got an object"},
    {"\"min_tokens\":-1",                  400, "min_tokens",        "at least 0"},
    {"\"min_tokens\":9,\"max_tokens\":8",  400, "min_tokens",        "(9) must not be above max_tokens (8)"},
    {"\"stop\":5",                         400, "stop",              "a string or an array of strings, got a number"},
    {"\"stop\":[\"a\",5]",                 400, "stop[1]",           "must be a string, got a number"},
    {"\"stop\":[\"a\",null]",              400, "stop[1]",           "must be a string, got null"},
    {"\"stop_token_ids\":7",               400, "stop_token_ids",    "an array, got a number"},
    {"\"stop_token_ids\":[1,261]",         400, "stop_token_ids[1]", "a token id from 0 to 260"},
    {"\"stop_token_ids\":[-1]",            400, "stop_token_ids[0]", "a token id from 0 to 260"},
    {"\"include_stop_str_in_output\":1",   400, "include_stop_str_in_output", "a boolean"},
    {"\"ignore_eos\":\"yes\"",             400, "ignore_eos",        "a boolean, got a string"},
    {"\"skip_special_tokens\":0",          400, "skip_special_tokens", "a boolean, got a number"},
    {"\"logit_bias\":[]",                  400, "logit_bias",        "an object, got an array"},
    {"\"logit_bias\":{\"261\":1}",         400, "logit_bias.261",    "token ids from 0 to 260, got \"261\""},
    {"\"logit_bias\":{\"-1\":1}",          400, "logit_bias.-1",     "token ids"},
    {"\"logit_bias\":{\"01\":1}",          400, "logit_bias.01",     "token ids"},
    {"\"logit_bias\":{\"\":1}",            400, "logit_bias.",       "token ids"},
    {"\"logit_bias\":{\"99999999999\":1}", 400, "logit_bias.99999999999", "token ids"},
    {"\"logit_bias\":{\"5\":101}",         400, "logit_bias.5",      "from -100 to 100"},
    {"\"logit_bias\":{\"5\":null}",        400, "logit_bias.5",      "from -100 to 100"},
    {"\"stream\":\"true\"",                400, "stream",            "a boolean, got a string"},
    {"\"stream_options\":true",            400, "stream_options",    "an object, got a boolean"},
    {"\"stream_options\":{\"include_usage\":1}", 400, "stream_options.include_usage", "a boolean, got a number"},
    {"\"response_format\":\"json\"",       400, "response_format",   "an object, got a string"},
    {"\"response_format\":{}",             400, "response_format.type", "is missing"},
    {"\"response_format\":{\"type\":\"json_object\"}", 400, "response_format", "not built yet"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}", 400, "response_format", "json_schema"},
    {"\"guided_json\":{}",                 400, "guided_json",       "not supported"},
    {"\"guided_regex\":\"a\"",             400, "guided_regex",      "not supported"},
    {"\"guided_choice\":[\"a\"]",          400, "guided_choice",     "not supported"},
    {"\"guided_grammar\":\"a\"",           400, "guided_grammar",    "not supported"},
    {"\"structured_outputs\":{}",          400, "structured_outputs","not supported"},
    {"\"n\":1,\"n\":2",                    400, NULL,                "\"n\" stands twice"},
    {"\"x\":\"\\u0000\"",                  400, NULL,                "u0000"},
    {"\"x\":[1,]",                         400, NULL,                "invalid JSON"},
    {"\"x\":\"\xff\"",                     400, NULL,                "UTF-8"},
};
static const struct bad chat[] = {
    {"\"max_tokens\":0",                   400, "max_tokens",        "at least 1, got 0"},
    {"\"max_tokens\":4096",                400, "messages",          "the context is 4096 tokens"},
    {"\"logprobs\":1",                     400, "logprobs",          "a boolean, got a number"},
    {"\"logprobs\":true,\"top_logprobs\":21", 400, "top_logprobs",   "at most 20"},
    {"\"top_logprobs\":2",                 400, "top_logprobs",      "needs `logprobs`"},
    {"\"tools\":{}",                       400, "tools",             "an array, got an object"},
    {"\"tools\":[5]",                      400, "tools[0]",          "an object, got a number"},
    {"\"tools\":[{\"function\":{\"name\":\"f\"}}]", 400, "tools[0].type", "is missing"},
    {"\"tools\":[{\"type\":\"web\"}]",     400, "tools[0].type",     "one of function; got \"web\""},
    {"\"tools\":[{\"type\":\"function\"}]", 400, "tools[0].function", "is missing"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{}}]", 400, "tools[0].function.name", "is missing"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"\"}}]", 400, "tools[0].function.name", "at least 1"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":[]}}]", 400, "tools[0].function.parameters", "an object"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":1}}]", 400, "tools[0].function.description", "a string"},
    {"\"tool_choice\":\"required\"",       400, "tool_choice",       "not built yet"},
    {"\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", 400, "tool_choice", "not built yet"},
    {"\"tool_choice\":\"any\"",            400, "tool_choice",       "got \"any\""},
    {"\"tool_choice\":3",                  400, "tool_choice",       "a string or an object"},
    {"\"functions\":[]",                   400, "functions",         "use `tools`"},
    {"\"function_call\":\"auto\"",         400, "function_call",     "use `tools`"},
    {"\"chat_template\":\"x\"",            400, "chat_template",     "not supported"},
    {"\"continue_final_message\":true,\"add_generation_prompt\":true", 400, "continue_final_message", "cannot both be true"},
    {"\"documents\":{}",                   400, "documents",         "an array, got an object"},
    {"\"reasoning_effort\":1",             400, "reasoning_effort",  "a string, got a number"},
    {"\"add_generation_prompt\":1",        400, "add_generation_prompt", "a boolean"},
    {"\"chat_template_kwargs\":[]",        400, "chat_template_kwargs", "an object"},
    {"\"chat_template_kwargs\":{\"tools\":1}", 400, "chat_template_kwargs.tools", "set by the request"},
};
/* The whole of `messages`. */
static const struct bad messages[] = {
    {"5",                                  400, "messages",          "an array, got a number"},
    {"null",                               400, "messages",          "is missing"},
    {"[]",                                 400, "messages",          "is empty"},
    {"[5]",                                400, "messages[0]",       "an object, got a number"},
    {"[{}]",                               400, "messages[0].role",  "is missing"},
    {"[{\"role\":\"bot\"}]",               400, "messages[0].role",  "one of system|developer|user|assistant|tool|function; got \"bot\""},
    {"[{\"role\":7}]",                     400, "messages[0].role",  "a string"},
    {"[{\"role\":\"user\"}]",              400, "messages[0].content", "is missing"},
    {"[{\"role\":\"system\"},{\"role\":\"user\",\"content\":5}]", 400, "messages[1].content", "a string or an array of parts, got a number"},
    {"[{\"role\":\"user\",\"content\":\"a\",\"name\":1}]", 400, "messages[0].name", "a string"},
    {"[{\"role\":\"user\",\"content\":[\"a\"]}]", 400, "messages[0].content[0]", "an object, got a string"},
    {"[{\"role\":\"user\",\"content\":[{}]}]", 400, "messages[0].content[0].type", "is missing"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", 400, "messages[0].content[0].text", "is missing"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":5}]}]", 400, "messages[0].content[0].text", "a string"},
    {"[{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"text\":\"a\"}]}]", 400, "messages[0].content[0].refusal", "is missing"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\"}}]}]",
                                           400, "messages[0].content[1].type", "is \"image_url\"; this model takes text only"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]", 400, "messages[0].content[0].type", "input_audio"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"file\"}]}]", 400, "messages[0].content[0].type", "file"},
    {"[{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[{}]}]", 400, "messages[0].tool_calls", "belongs to messages of the assistant"},
    {"[{\"role\":\"assistant\",\"tool_calls\":5}]", 400, "messages[0].tool_calls", "an array"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[5]}]", 400, "messages[0].tool_calls[0]", "an object"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{}]}]", 400, "messages[0].tool_calls[0].function", "is missing"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{}}]}]", 400, "messages[0].tool_calls[0].function.name", "is missing"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":1,\"function\":{\"name\":\"f\"}}]}]", 400, "messages[0].tool_calls[0].id", "a string"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":5}}]}]", 400, "messages[0].tool_calls[0].function.arguments", "a string of JSON or an object"},
    {"[{\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":5}]", 400, "messages[0].tool_call_id", "a string"},
};
static const struct bad completions[] = {
    {"\"prompt\":null",                    400, "prompt",            "is missing"},
    {"\"prompt\":5",                       400, "prompt",            "a string or an array of token ids, got a number"},
    {"\"prompt\":\"\"",                    400, "prompt",            "is empty"},
    {"\"prompt\":[]",                      400, "prompt",            "is empty"},
    {"\"prompt\":[[]]",                    400, "prompt[0]",         "is empty"},
    {"\"prompt\":[\"a\",\"\"]",            400, "prompt[1]",         "is empty"},
    {"\"prompt\":[\"a\",5]",               400, "prompt[1]",         "a string or an array of token ids"},
    {"\"prompt\":[1,\"a\"]",               400, "prompt[1]",         "a token id"},
    {"\"prompt\":[1,2.5]",                 400, "prompt[1]",         "a token id"},
    {"\"prompt\":[261]",                   400, "prompt[0]",         "a token id from 0 to 260"},
    {"\"prompt\":[[1],[1,-1]]",            400, "prompt[1][1]",      "a token id"},
    {"\"prompt\":[null]",                  400, "prompt[0]",         "got null"},
    {"\"prompt\":\"a\",\"echo\":1",        400, "echo",              "a boolean"},
    {"\"prompt\":\"a\",\"logprobs\":21",   400, "logprobs",          "at most 20"},
    {"\"prompt\":\"a\",\"logprobs\":true", 400, "logprobs",          "an integer"},
    {"\"prompt\":\"a\",\"suffix\":\"b\"",  400, "suffix",            "not supported"},
    {"\"prompt\":\"a\",\"suffix\":5",      400, "suffix",            "a string"},
    {"\"prompt\":\"a\",\"best_of\":2",     400, "best_of",           "other than `n`"},
    {"\"prompt\":\"a\",\"n\":2,\"best_of\":3", 400, "best_of",       "other than `n`"},
    {"\"prompt\":\"a\",\"prompt_embeds\":\"\"", 400, "prompt_embeds", "not supported"},
    {"\"prompt\":\"a\",\"max_tokens\":4095", 400, "prompt",          "the context is 4096 tokens, but 4097"},
};
/* The whole body. */
static const struct bad body[] = {
    {"",                                   400, NULL,                "empty"},
    {"x",                                  400, NULL,                "invalid JSON at byte 0"},
    {"[]",                                 400, NULL,                "must be a JSON object, got an array"},
    {"null",                               400, NULL,                "must be a JSON object, got null"},
    {"{\"messages\":[",                    400, NULL,                "ends too early"},
    {"{}",                                 400, "messages",          "is missing"},
    {"{} {}",                              400, NULL,                "behind the value"},
};
/* Nulls, unknown fields, the values that are just right. */
static const char *const fine[] = {
    "\"model\":null,\"temperature\":null,\"n\":null,\"stop\":null,\"stream\":null,\"seed\":null",
    "\"max_tokens\":null,\"stream_options\":null,\"response_format\":null,\"logit_bias\":null",
    "\"guided_json\":null,\"structured_outputs\":null,\"stop_token_ids\":null,\"user\":\"me\"",
    "\"unknown\":{\"a\":[1]},\"nvext\":{},\"store\":true,\"metadata\":{},\"service_tier\":\"auto\"",
    "\"temperature\":0,\"top_p\":1,\"top_k\":-1,\"min_p\":0,\"repetition_penalty\":2",
    "\"presence_penalty\":-2,\"frequency_penalty\":2,\"n\":1.0,\"seed\":-9223372036854775808",
    "\"stop\":[],\"logit_bias\":{},\"stop_token_ids\":[],\"response_format\":{\"type\":\"text\"}",
    "\"stop\":\"\",\"max_tokens\":16,\"max_completion_tokens\":7,\"max_output_tokens\":8",
};
/* clang-format on */

#define give_up(...) (print_error(__VA_ARGS__), assert_true(false))

static struct api *api;

static int set_up(void **state)
{
    (void)state;
    api = floor_open(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    floor_close(api);
    return 0;
}

static void check(const char *path, const char *text, const struct bad *b)
{
    const struct json *answer, *error, *param;
    struct arena a = {0};
    int status;
    char *reply = client_ask(api, "POST", path, text, &status);

    assert_int_equal(json_parse(&a, reply, strlen(reply), &answer), OK);
    error = json_get(answer, "error");
    param = json_get(error, "param");
    if (status != b->status || !strstr(json_get(error, "message")->text.p, b->part) ||
        (b->param ? !json_is(param, JSON_STRING) || strcmp(param->text.p, b->param) != 0
                  : !json_is(param, JSON_NULL)))
        give_up("%s\n  gave %d %s\n  wanted %d %s ... %s", text, status, reply, b->status,
                b->param ? b->param : "null", b->part);
    assert_true(json_is(json_get(error, "type"), JSON_STRING));
    assert_true(json_is(json_get(error, "code"), JSON_STRING));
    assert_int_equal(fake_n_jobs(), 0);
    arena_clear(&a);
    xfree(reply);
}

static void check_all(const char *path, const char *format, const struct bad *b, size_t n)
{
    char text[1024];

    for (size_t i = 0; i < n; i++) {
        snprintf(text, sizeof text, format, b[i].body);
        check(path, text, &b[i]);
    }
}

#define CHAT    "/v1/chat/completions"
#define ALL(b)  b, sizeof b / sizeof *b
#define MESSAGE "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],%s}"

static void bad_common(void **state)
{
    (void)state;
    check_all(CHAT, MESSAGE, ALL(common));
    check_all("/v1/completions", "{\"prompt\":\"hi\",%s}", ALL(common));
}

static void bad_chat(void **state)
{
    (void)state;
    check_all(CHAT, MESSAGE, ALL(chat));
    check_all(CHAT, "{\"messages\":%s}", ALL(messages));
    check_all(CHAT, "%s", ALL(body));
}

static void bad_completions(void **state)
{
    (void)state;
    check_all("/v1/completions", "{%s}", ALL(completions));
}

static void good(void **state)
{
    char text[1024];
    int status;

    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        snprintf(text, sizeof text, MESSAGE, fine[i]);
        char *reply = client_ask(api, "POST", CHAT, text, &status);
        if (status != 200)
            give_up("%s\n  gave %d %s", text, status, reply);
        xfree(reply);
        snprintf(text, sizeof text, "{\"prompt\":\"hi\",%s}", fine[i]);
        reply = client_ask(api, "POST", "/v1/completions", text, &status);
        if (status != 200)
            give_up("%s\n  gave %d %s", text, status, reply);
        xfree(reply);
    }
    /* of the aliases the smallest */
    assert_int_equal(fake_job(fake_n_jobs() - 1)->spec.max_tokens, 7);
}

/* A body of brackets would cost a hundred times its size as a tree. */
static void too_many_values(void **state)
{
    struct buf b = {0};
    int status;
    char *reply;

    (void)state;
    buf_puts(&b, "{\"prompt\":[");
    for (int i = 0; i < 1 << 20; i++)
        buf_puts(&b, "0,");
    buf_puts(&b, "0]}");
    reply = client_ask(api, "POST", "/v1/completions", b.data, &status);
    assert_int_equal(status, 413);
    assert_non_null(strstr(reply, "more than 1048576 values"));
    xfree(reply);
    buf_clear(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(bad_common), T(bad_chat), T(bad_completions), T(good),
                                       T(too_many_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
