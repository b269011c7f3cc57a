/* test_chat.c - /v1/chat/completions: answers and streams byte for byte. */
#include "kernels/base/mem.h"
#include "tests/api/fake/floor.h"
#include "tests/support/test.h"

static const struct event hello[] = {TEXT(0, "Hi"), TEXT(0, ""), TEXT(0, " \"you\"\n"),
                                     FINISH(0, FINISH_STOP), DONE};
static struct api *api;

static int set_up(void **state)
{
    (void)state;
    api = floor_open(NULL);
    SCRIPT(hello);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    floor_close(api);
    return 0;
}

static void expect(const char *body, int status, const char *want)
{
    int got;
    char *answer = client_ask(api, "POST", "/v1/chat/completions", body, &got);

    assert_string_equal(answer, want);
    assert_int_equal(got, status);
    xfree(answer);
}

#define ASK "{\"model\":\"any\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define HEAD                                                                                       \
    "{\"id\":\"chatcmpl-t1\",\"object\":\"chat.completion\",\"created\":0,"                        \
    "\"model\":\"fake/model-1\",\"choices\":["
#define CHUNK                                                                                      \
    "data: {\"id\":\"chatcmpl-t1\",\"object\":\"chat.completion.chunk\",\"created\":0,"            \
    "\"model\":\"fake/model-1\",\"choices\":["
#define USAGE(p, c, t)                                                                             \
    "\"usage\":{\"prompt_tokens\":" #p ",\"completion_tokens\":" #c ",\"total_tokens\":" #t        \
    ",\"prompt_tokens_details\":{\"cached_tokens\":3},"                                            \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"
#define ROLE(i)                                                                                    \
    "{\"index\":" #i ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"     \
    "\"finish_reason\":null}]"
#define DELTA(i, s)                                                                                \
    "{\"index\":" #i ",\"delta\":{\"content\":\"" s "\"},\"logprobs\":null,"                       \
    "\"finish_reason\":null}]"
#define LAST(i, r) "{\"index\":" #i ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"" r "\"}]"

static void whole(void **state)
{
    (void)state;
    expect(ASK "}", 200,
           HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi \\\"you\\\"\\n\""
                ",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE(75, 9,
                                                                                           84) "}");
    assert_true(fake_job(0)->put);
    assert_false(fake_job(0)->cancelled);
}

/* The template sees the messages; its text is tokenized with special tokens and the BOS policy. */
static void prompt_of_template(void **state)
{
    (void)state;
    xfree(client_ask(api, "POST", "/v1/chat/completions",
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"</s>\"}]}", NULL));
    assert_string_equal(fake_job(0)->prompt,
                        "<s>{\"messages\":[{\"role\":\"user\",\"content\":\"</s>\"}],"
                        "\"add_generation_prompt\":true}");
    assert_int_equal(fake_job(0)->prompt_id[0], FAKE_BOS);
    assert_int_equal(fake_job(0)->prompt_id[1 + 39], FAKE_EOS);
}

static void streamed(void **state)
{
    (void)state;
    expect(ASK ",\"stream\":true}", 200,
           CHUNK ROLE(0) "}\n\n" CHUNK DELTA(0, "Hi") "}\n\n" CHUNK DELTA(
               0, " \\\"you\\\"\\n") "}\n\n" CHUNK LAST(0, "stop") "}\n\ndata: [DONE]\n\n");
}

static void streamed_usage(void **state)
{
    static const struct event one[] = {TEXT(0, "x"), FINISH(0, FINISH_LENGTH), DONE};

    (void)state;
    SCRIPT(one);
    expect(
        ASK ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}", 200,
        CHUNK ROLE(0) ",\"usage\":null}\n\n" CHUNK DELTA(0, "x") ",\"usage\":null}\n\n" CHUNK LAST(
            0, "length") ",\"usage\":null}\n\n" CHUNK
                         "]," USAGE(75, 1, 76) "}\n\ndata: [DONE]\n\n");
}

/* Choices come interleaved; each begins with its own role. An answer without text has one too. */
static void streamed_choices(void **state)
{
    static const struct event two[] = {TEXT(1, "b"), FINISH(0, FINISH_STOP), TEXT(1, "c"),
                                       FINISH(1, FINISH_LENGTH), DONE};

    (void)state;
    SCRIPT(two);
    expect(ASK ",\"stream\":true,\"n\":2}", 200,
           CHUNK ROLE(1) "}\n\n" CHUNK DELTA(1, "b") "}\n\n" CHUNK ROLE(0) "}\n\n" CHUNK LAST(
               0, "stop") "}\n\n" CHUNK DELTA(1, "c") "}\n\n" CHUNK LAST(1, "length") "}\n\n"
                                                                                      "data: "
                                                                                      "[DONE]\n\n");
    assert_int_equal(fake_job(0)->spec.n, 2);
}

static void stop_reason(void **state)
{
    static const struct event stop[] = {
        TEXT(0, "x"), {.kind = EVENT_FINISH, .reason = FINISH_STOP, .stop_word = "\"END"}, DONE};

    (void)state;
    SCRIPT(stop);
    expect(ASK ",\"stop\":[\"\\\"END\",\"\"]}", 200,
           HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"x\","
                "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\","
                "\"stop_reason\":\"\\\"END\"}]," USAGE(75, 1, 76) "}");
    assert_int_equal(fake_job(0)->spec.n_stop, 1);
    assert_string_equal(fake_job(0)->stop[0], "\"END");
}

#define LOGPROBS                                                                                   \
    "\"logprobs\":{\"content\":[{\"token\":\"Hello\",\"logprob\":-0.25,"                           \
    "\"bytes\":[72,101,108,108,111],\"top_logprobs\":[{\"token\":\"Hello\",\"logprob\":-0.25,"     \
    "\"bytes\":[72,101,108,108,111]},{\"token\":\"\xef\xbf\xbd\",\"logprob\":-1.1,"                \
    "\"bytes\":[195]}]},{\"token\":\" world\",\"logprob\":-9999,"                                  \
    "\"bytes\":[32,119,111,114,108,100],\"top_logprobs\":[]}],\"refusal\":null}"

static const struct token_logprob top[] = {{FAKE_HELLO, -0.25f}, {0xc3, -1.1f}};
static const struct token_info tokens[] = {{FAKE_HELLO, -0.25f, 0, top, 2},
                                           {FAKE_WORLD, -1e30f * 1e30f, 5, NULL, 0}};
static const struct event with_tokens[] = {
    {.kind = EVENT_TEXT, .text = {"Hello world", 11}, .token = tokens, .n_tokens = 2},
    FINISH(0, FINISH_STOP),
    DONE};

static void logprobs_whole(void **state)
{
    (void)state;
    SCRIPT(with_tokens);
    expect(ASK ",\"logprobs\":true,\"top_logprobs\":2}", 200,
           HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello world\","
                "\"refusal\":null}," LOGPROBS
                ",\"finish_reason\":\"stop\"}]," USAGE(75, 2, 77) "}");
    assert_int_equal(fake_job(0)->spec.top_logprobs, 2);
    assert_false(fake_job(0)->spec.prompt_logprobs);
}

static void logprobs_streamed(void **state)
{
    (void)state;
    SCRIPT(with_tokens);
    expect(ASK ",\"logprobs\":true,\"top_logprobs\":2,\"stream\":true}", 200,
           CHUNK ROLE(
               0) "}\n\n" CHUNK "{\"index\":0,\"delta\":{\"content\":\"Hello world\"}," LOGPROBS
                  ",\"finish_reason\":null}]}\n\n" CHUNK LAST(0, "stop") "}\n\ndata: [DONE]\n\n");
}

static void logprobs_default(void **state)
{
    (void)state;
    xfree(client_ask(api, "POST", "/v1/chat/completions", ASK "}", NULL));
    assert_int_equal(fake_job(0)->spec.top_logprobs, -1);
    xfree(client_ask(api, "POST", "/v1/chat/completions", ASK ",\"logprobs\":true}", NULL));
    assert_int_equal(fake_job(1)->spec.top_logprobs, 0);
}

static void template_raises(void **state)
{
    (void)state;
    expect("{\"messages\":[{\"role\":\"user\",\"content\":\"RAISE\"}]}", 400,
           "{\"error\":{\"message\":\"the chat template raised: roles must alternate\",\"type\":"
           "\"invalid_request_error\",\"param\":null,\"code\":\"template_error\"}}");
}

static void context_exceeded(void **state)
{
    (void)state;
    expect(ASK ",\"max_tokens\":5000}", 400,
           "{\"error\":{\"message\":\"the context is 4096 tokens, but 5075 were asked for\","
           "\"type\":\"invalid_request_error\",\"param\":\"messages\","
           "\"code\":\"context_length_exceeded\"}}");
}

static void refused(void **state)
{
    (void)state;
    fake_refuse(0, ERR_QUEUE_FULL, "512 jobs are waiting");
    expect(ASK ",\"stream\":true}", 429,
           "{\"error\":{\"message\":\"512 jobs are waiting\",\"type\":\"rate_limit_error\","
           "\"param\":null,\"code\":\"queue_full\"}}");
}

/* An error before the first event keeps its own HTTP status, even for a stream. */
static void fails_before_text(void **state)
{
    static const struct event bad[] = {
        {.kind = EVENT_ERROR, .status = ERR_DEVICE, .message = "lost"}};

    (void)state;
    SCRIPT(bad);
    expect(ASK ",\"stream\":true}", 500,
           "{\"error\":{\"message\":\"lost\",\"type\":\"server_error\",\"param\":null,"
           "\"code\":\"internal_error\"}}");
}

static void fails_in_stream(void **state)
{
    static const struct event bad[] = {
        TEXT(0, "x"), {.kind = EVENT_ERROR, .status = ERR_DEADLINE, .message = "too late"}};

    (void)state;
    SCRIPT(bad);
    expect(ASK ",\"stream\":true}", 200,
           CHUNK ROLE(0) "}\n\n" CHUNK DELTA(
               0, "x") "}\n\ndata: {\"error\":{\"message\":\"too late\",\"type\":"
                       "\"timeout_error\",\"param\":null,\"code\":\"deadline_exceeded\"}}\n\n");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(whole),
        T(prompt_of_template),
        T(streamed),
        T(streamed_usage),
        T(streamed_choices),
        T(stop_reason),
        T(logprobs_whole),
        T(logprobs_streamed),
        T(logprobs_default),
        T(template_raises),
        T(context_exceeded),
        T(refused),
        T(fails_before_text),
        T(fails_in_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
