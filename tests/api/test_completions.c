/* test_completions.c - /v1/completions: prompts in four forms, echo, the legacy logprobs. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/api/fake/floor.h"
#include "tests/support/test.h"

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

static void expect(const char *body, int status, const char *want)
{
    int got;
    char *answer = client_ask(api, "POST", "/v1/completions", body, &got);

    assert_string_equal(answer, want);
    assert_int_equal(got, status);
    xfree(answer);
}

#define OBJECT                                                                                     \
    "{\"id\":\"cmpl-t1\",\"object\":\"text_completion\",\"created\":0,"                            \
    "\"model\":\"fake/model-1\",\"choices\":["
#define USAGE(p, c, t, k)                                                                          \
    "\"usage\":{\"prompt_tokens\":" #p ",\"completion_tokens\":" #c ",\"total_tokens\":" #t        \
    ",\"prompt_tokens_details\":{\"cached_tokens\":" #k "},"                                       \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"
#define CHOICE(i, s, r)                                                                            \
    "{\"index\":" #i ",\"text\":\"" s "\",\"logprobs\":null,\"finish_reason\":" r "}"

static void whole(void **state)
{
    (void)state;
    expect("{\"prompt\":\"ab</s>\"}", 200,
           OBJECT CHOICE(0, "Hi", "\"stop\"") "]," USAGE(4, 2, 6, 3) "}");
    /* no template, BOS by policy, and control tokens by their spelling, as clients with a template
     * of their own send them */
    assert_string_equal(fake_job(0)->prompt, "<s>ab</s>");
    assert_int_equal(fake_job(0)->n_prompt, 4);
    assert_false(fake_job(0)->spec.max_tokens_given);
    assert_int_equal(fake_job(0)->spec.max_tokens, 0);
}

static void streamed(void **state)
{
    (void)state;
    expect("{\"prompt\":\"ab\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}", 200,
           "data: " OBJECT CHOICE(
               0, "Hi", "null") "],\"usage\":null}\n\n"
                                "data: " OBJECT CHOICE(
                                    0, "", "\"stop\"") "],\"usage\":null}\n\n"
                                                       "data: " OBJECT "]," USAGE(
                                                           3, 2, 5, 3) "}\n\ndata: [DONE]\n\n");
}

static void token_ids(void **state)
{
    (void)state;
    expect("{\"prompt\":[97,258,259]}", 200,
           OBJECT CHOICE(0, "Hi", "\"stop\"") "]," USAGE(3, 2, 5, 3) "}");
    assert_int_equal(fake_job(0)->prompt_id[1], FAKE_HELLO); /* as given: no BOS */
    assert_int_equal(fake_job(0)->n_prompt, 3);
}

/* Two prompts with two choices each: choice i of prompt p is 2p + i; the usage is the sum. */
static void batch(void **state)
{
    static const struct event two[] = {TEXT(1, "y"), TEXT(0, "xx"), FINISH(1, FINISH_LENGTH),
                                       FINISH(0, FINISH_STOP), DONE};

    (void)state;
    SCRIPT(two);
    expect("{\"prompt\":[\"a\",\"bc\"],\"n\":2,\"best_of\":2}", 200,
           OBJECT CHOICE(0, "xx", "\"stop\"") "," CHOICE(1, "y", "\"length\"") "," CHOICE(
               2, "xx", "\"stop\"") "," CHOICE(3, "y", "\"length\"") "]," USAGE(5, 6, 11, 6) "}");
    assert_int_equal(fake_n_jobs(), 2);
    assert_string_equal(fake_job(1)->prompt, "<s>bc");
}

static void batch_of_ids(void **state)
{
    (void)state;
    xfree(client_ask(api, "POST", "/v1/completions", "{\"prompt\":[[97,98],[99]]}", NULL));
    assert_int_equal(fake_n_jobs(), 2);
    assert_int_equal(fake_job(0)->n_prompt, 2);
    assert_int_equal(fake_job(1)->prompt_id[0], 'c');
}

/* One prompt of a batch is refused: the whole call is, and what was submitted is put back. */
static void batch_refused(void **state)
{
    (void)state;
    fake_refuse(1, ERR_QUEUE_FULL, "full");
    expect("{\"prompt\":[\"a\",\"b\",\"c\"]}", 429,
           "{\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,"
           "\"code\":\"queue_full\"}}");
    assert_int_equal(fake_n_jobs(), 1);
    assert_true(fake_job(0)->put);
}

static void echo(void **state)
{
    (void)state;
    expect("{\"prompt\":\"ab\",\"echo\":true,\"n\":1}", 200,
           OBJECT CHOICE(0, "abHi", "\"stop\"") "]," USAGE(3, 2, 5, 3) "}");
    expect("{\"prompt\":[258,259],\"echo\":true,\"stream\":true}", 200,
           "data: " OBJECT CHOICE(0, "Hello worldHi",
                                  "null") "]}\n\n"
                                          "data: " OBJECT CHOICE(
                                              0, "", "\"stop\"") "]}\n\ndata: [DONE]\n\n");
}

/* max_tokens 0: the prompt is scored, nothing is generated. */
static void echo_only(void **state)
{
    static const struct event none[] = {FINISH(0, FINISH_LENGTH), DONE};

    (void)state;
    SCRIPT(none);
    expect("{\"prompt\":\"ab\",\"echo\":true,\"max_tokens\":0}", 200,
           OBJECT CHOICE(0, "ab", "\"length\"") "]," USAGE(3, 0, 3, 3) "}");
    assert_true(fake_job(0)->spec.max_tokens_given);
    assert_int_equal(fake_job(0)->spec.max_tokens, 0);
    expect(
        "{\"prompt\":\"ab\",\"echo\":true,\"max_tokens\":0,\"stream\":true}", 200,
        "data: " OBJECT CHOICE(0, "ab", "null") "]}\n\n"
                                                "data: " OBJECT CHOICE(
                                                    0, "", "\"length\"") "]}\n\ndata: [DONE]\n\n");
}

/* What lm-eval's local-completions sends and reads. The prompt is "é" in two byte tokens, then
 * " world"; the model would rather have said "a" than " world", and a twin of "a" shares its name.
 */
static const struct token_logprob top_e[] = {{0xa9, -0.5f}};
static const struct token_logprob top_w[] = {{'a', -0.1f}, {FAKE_TWIN, -2}};
static const struct token_logprob top_h[] = {{FAKE_HELLO, -0.75f}};
static struct token_info scored[] = {
    {0xc3, 0, 0, NULL, 0}, {0xa9, -0.5f, 0, top_e, 1}, {FAKE_WORLD, -3.5f, 2, top_w, 2}};
static const struct token_info said[] = {{FAKE_HELLO, -0.75f, 0, top_h, 1}};
static const struct event lm_eval[] = {
    {.kind = EVENT_PROMPT, .token = scored, .n_tokens = 3},
    {.kind = EVENT_TEXT, .text = {"Hello", 5}, .token = said, .n_tokens = 1},
    FINISH(0, FINISH_LENGTH),
    DONE};

#define PROMPT_TOKENS "\"bytes:\\\\xc3\",\"bytes:\\\\xa9\",\" world\""
#define PROMPT_TOP    "null,{\"bytes:\\\\xa9\":-0.5},{\"a\":-0.1,\" world\":-3.5}"

static void lm_eval_shape(void **state)
{
    (void)state;
    scored[0].logprob = NAN;
    SCRIPT(lm_eval);
    expect("{\"model\":\"m\",\"prompt\":[[195,169,259]],\"temperature\":0,\"max_tokens\":1,"
           "\"logprobs\":1,\"seed\":1234,\"echo\":true}",
           200,
           OBJECT
           "{\"index\":0,\"text\":\"\xc3\xa9 worldHello\",\"logprobs\":{"
           "\"tokens\":[" PROMPT_TOKENS ",\"Hello\"],"
           "\"token_logprobs\":[null,-0.5,-3.5,-0.75],"
           "\"top_logprobs\":[" PROMPT_TOP ",{\"Hello\":-0.75}],"
           "\"text_offset\":[0,1,1,7]},\"finish_reason\":\"length\"}]," USAGE(3, 1, 4, 3) "}");
    assert_true(fake_job(0)->spec.prompt_logprobs);
    assert_int_equal(fake_job(0)->spec.top_logprobs, 1);
    assert_int_equal(fake_job(0)->spec.max_tokens, 1);
    assert_true(fake_job(0)->spec.sampling.has_seed);
    assert_int_equal(fake_job(0)->spec.sampling.seed, 1234);
    assert_true(fake_job(0)->spec.sampling.temperature == 0);
}

/* A string prompt became <s>, " world" with the space of some tokenizers, and "a": the offsets are
 * those of the text as it was sent. */
static void offsets(void **state)
{
    static struct token_info t[] = {
        {FAKE_BOS, 0, 0, NULL, 0}, {FAKE_WORLD, -1, 0, NULL, 0}, {'a', -1, 0, NULL, 0}};
    static const struct event e[] = {{.kind = EVENT_PROMPT, .token = t, .n_tokens = 3},
                                     {.kind = EVENT_TEXT, .text = {"!", 1}},
                                     FINISH(0, FINISH_LENGTH),
                                     DONE};
    char *answer;

    (void)state;
    t[0].logprob = NAN;
    SCRIPT(e);
    answer = client_ask(api, "POST", "/v1/completions",
                        "{\"prompt\":\"worlda\",\"echo\":true,\"logprobs\":0}", NULL);
    assert_non_null(strstr(answer, "\"text\":\"worlda!\""));
    assert_non_null(strstr(answer, "\"tokens\":[\"<s>\",\" world\",\"a\",\"!\"]"));
    assert_non_null(strstr(answer, "\"text_offset\":[0,0,5,6]"));
    xfree(answer);
}

/* n choices share the prompt's logprobs; offsets go on from chunk to chunk. */
static void logprobs_streamed(void **state)
{
    (void)state;
    scored[0].logprob = NAN;
    SCRIPT(lm_eval);
    expect("{\"prompt\":[195,169,259],\"logprobs\":1,\"echo\":true,\"stream\":true}", 200,
           "data: " OBJECT "{\"index\":0,\"text\":\"\xc3\xa9 worldHello\",\"logprobs\":{"
           "\"tokens\":[" PROMPT_TOKENS ",\"Hello\"],"
           "\"token_logprobs\":[null,-0.5,-3.5,-0.75],"
           "\"top_logprobs\":[" PROMPT_TOP ",{\"Hello\":-0.75}],"
           "\"text_offset\":[0,1,1,7]},\"finish_reason\":null}]}\n\n"
           "data: " OBJECT CHOICE(0, "", "\"length\"") "]}\n\ndata: [DONE]\n\n");
}

static void logprobs_without_echo(void **state)
{
    (void)state;
    xfree(client_ask(api, "POST", "/v1/completions", "{\"prompt\":\"a\",\"logprobs\":0}", NULL));
    assert_int_equal(fake_job(0)->spec.top_logprobs, 0);
    assert_false(fake_job(0)->spec.prompt_logprobs);
    xfree(client_ask(api, "POST", "/v1/completions", "{\"prompt\":\"a\",\"echo\":true}", NULL));
    assert_int_equal(fake_job(1)->spec.top_logprobs, -1);
    assert_false(fake_job(1)->spec.prompt_logprobs);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(whole),
        T(streamed),
        T(token_ids),
        T(batch),
        T(batch_of_ids),
        T(batch_refused),
        T(echo),
        T(echo_only),
        T(lm_eval_shape),
        T(logprobs_streamed),
        T(logprobs_without_echo),
        T(offsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
