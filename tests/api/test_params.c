/* test_params.c - that each parameter of a request arrives in the job's spec, and the defaults. */
#include "api/params.h"

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

/* Submits a completion with these fields; its job. */
static const struct fake_job *submit(const char *fields)
{
    char body[1024];
    int status;

    snprintf(body, sizeof body, "{\"prompt\":\"a\"%s%s}", *fields ? "," : "", fields);
    xfree(client_ask(api, "POST", "/v1/completions", body, &status));
    assert_int_equal(status, 200);
    return fake_job(fake_n_jobs() - 1);
}

static void defaults(void **state)
{
    const struct job_spec *s = &submit("")->spec;

    (void)state;
    assert_int_equal(s->n, 1);
    assert_int_equal(s->max_tokens, 0);
    assert_false(s->max_tokens_given);
    assert_int_equal(s->min_tokens, 0);
    assert_false(s->ignore_eos);
    assert_false(s->include_stop);
    assert_false(s->special_text);
    assert_int_equal(s->top_logprobs, -1);
    assert_int_equal(s->n_stop + s->n_stop_token + s->sampling.n_bias, 0);
    assert_false(s->sampling.has_seed);
    assert_true(s->sampling.temperature == 1 && s->sampling.top_p == 1);
    assert_true(s->sampling.repetition == 1 && s->sampling.min_p == 0);
    assert_true(s->deadline == 0);
}

/* What the model's files ask for holds until a request says otherwise, be it the neutral value. */
static void model_asks(void **state)
{
    struct sampling asks = {
        .temperature = 0.6f, .top_p = 0.95f, .min_p = 0.05f, .top_k = 20, .repetition = 1.1f};
    const struct job_spec *s;

    (void)state;
    fake_asks(&asks, 77);
    s = &submit("\"temperature\":null")->spec;
    assert_true(s->sampling.temperature == 0.6f && s->sampling.top_p == 0.95f);
    assert_true(s->sampling.min_p == 0.05f && s->sampling.repetition == 1.1f);
    assert_int_equal(s->sampling.top_k, 20);
    assert_true(s->sampling.presence == 0 && s->sampling.frequency == 0);
    assert_false(s->sampling.has_seed);
    assert_int_equal(s->max_tokens, 77);
    assert_false(s->max_tokens_given); /* so a long prompt shortens it */
    s = &submit("\"temperature\":0,\"top_p\":1,\"min_p\":0,\"top_k\":-1,"
                "\"repetition_penalty\":1,\"max_tokens\":5")
             ->spec;
    assert_true(s->sampling.temperature == 0 && s->sampling.top_p == 1);
    assert_true(s->sampling.min_p == 0 && s->sampling.repetition == 1);
    assert_int_equal(s->sampling.top_k, 0);
    assert_int_equal(s->max_tokens, 5);
    assert_true(s->max_tokens_given);
    fake_asks(NULL, 0);
}

static void numbers(void **state)
{
    const struct job_spec *s =
        &submit("\"temperature\":0.5,\"top_p\":0.25,\"min_p\":0.125,\"top_k\":40,"
                "\"presence_penalty\":-1.5,\"frequency_penalty\":0.75,\"repetition_penalty\":1.25,"
                "\"seed\":18,\"n\":3,\"min_tokens\":2,\"max_tokens\":9,\"ignore_eos\":true,"
                "\"include_stop_str_in_output\":true,\"skip_special_tokens\":false")
             ->spec;

    (void)state;
    assert_true(s->sampling.temperature == 0.5f);
    assert_true(s->sampling.top_p == 0.25f);
    assert_true(s->sampling.min_p == 0.125f);
    assert_int_equal(s->sampling.top_k, 40);
    assert_true(s->sampling.presence == -1.5f);
    assert_true(s->sampling.frequency == 0.75f);
    assert_true(s->sampling.repetition == 1.25f);
    assert_true(s->sampling.has_seed);
    assert_int_equal(s->sampling.seed, 18);
    assert_int_equal(s->n, 3);
    assert_int_equal(s->min_tokens, 2);
    assert_int_equal(s->max_tokens, 9);
    assert_true(s->max_tokens_given);
    assert_true(s->ignore_eos);
    assert_true(s->include_stop);
    assert_true(s->special_text);
    assert_int_equal(submit("\"seed\":-1")->spec.sampling.seed, UINT64_MAX);
    assert_int_equal(submit("\"top_k\":-1")->spec.sampling.top_k, 0);
    assert_int_equal(submit("\"top_k\":2147483647")->spec.sampling.top_k, INT32_MAX);
    assert_false(submit("\"skip_special_tokens\":true")->spec.special_text);
}

static void lists(void **state)
{
    const struct fake_job *j =
        submit("\"stop\":[\"END\",\"\",\"\\n\\n\"],\"stop_token_ids\":[257,0],"
               "\"logit_bias\":{\"0\":-100,\"258\":1.5}");

    (void)state;
    assert_int_equal(j->spec.n_stop, 2);
    assert_string_equal(j->stop[0], "END");
    assert_string_equal(j->stop[1], "\n\n");
    assert_int_equal(j->spec.n_stop_token, 2);
    assert_int_equal(j->stop_token[0], 257);
    assert_int_equal(j->stop_token[1], 0);
    assert_int_equal(j->spec.sampling.n_bias, 2);
    assert_int_equal(j->bias[0].token, 0);
    assert_true(j->bias[0].add == -100);
    assert_int_equal(j->bias[1].token, 258);
    assert_true(j->bias[1].add == 1.5f);
    j = submit("\"stop\":\"one\"");
    assert_int_equal(j->spec.n_stop, 1);
    assert_string_equal(j->stop[0], "one");
}

/* Up to 64 stop strings and ids; one more is refused. */
static void most_stops(void **state)
{
    struct buf b = {0};
    int status;

    (void)state;
    for (int n = JOB_MAX_STOPS; n <= JOB_MAX_STOPS + 1; n++) {
        for (int kind = 0; kind < 2; kind++) {
            buf_reset(&b);
            buf_printf(&b, "{\"prompt\":\"a\",\"%s\":[", kind ? "stop" : "stop_token_ids");
            for (int i = 0; i < n; i++)
                buf_printf(&b, kind ? "%s\"s%d\"" : "%s%d", i ? "," : "", i);
            buf_puts(&b, "]}");
            xfree(client_ask(api, "POST", "/v1/completions", b.data, &status));
            assert_int_equal(status, n > JOB_MAX_STOPS ? 400 : 200);
        }
    }
    buf_clear(&b);
}

static void most_tokens(void **state)
{
    struct params p = {0};

    (void)state;
    assert_int_equal(params_max_tokens(&p), -1);
    p.max_output_tokens = (struct opt_int){true, 9};
    assert_int_equal(params_max_tokens(&p), 9);
    p.max_tokens = (struct opt_int){true, 10};
    assert_int_equal(params_max_tokens(&p), 9);
    p.max_completion_tokens = (struct opt_int){true, 0};
    assert_int_equal(params_max_tokens(&p), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(defaults), T(model_asks), T(numbers),
                                       T(lists),    T(most_stops), T(most_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
