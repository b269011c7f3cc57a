/* test_metrics.c - the exposition: a checked syntax for every line, and the figures in it. */
#include "api/metrics.h"

#include <stdlib.h>
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

static char *scrape(void)
{
    int status;
    char *text = client_ask(api, "GET", "/v1/metrics", NULL, &status);

    assert_int_equal(status, 200);
    return text;
}

static void has(const char *text, const char *line)
{
    if (!strstr(text, line))
        print_error("missing: %s\n", line);
    assert_non_null(strstr(text, line));
}

#define NAME "model_name=\"fake/model-1\""

static void figures(void **state)
{
    struct engine_stats *s = fake_stats();
    char *text;

    (void)state;
    counter_add(&s->prompt_tokens, 7);
    counter_add(&s->generated_tokens, 8);
    counter_add(&s->jobs_done, 2);
    gauge_set(&s->running, 3);
    gauge_set(&s->kv_pages_total, 8);
    gauge_set(&s->kv_page_tokens, 16);
    gauge_set(&s->running_max, 12);
    gauge_set(&s->kv_pages_used, 2);
    gauge_set(&s->other_kernels, 4);
    gauge_set(&s->other_products, 5);
    histogram_add(&s->ttft, 0.05);
    histogram_add(&s->ttft, 0.5);
    histogram_add(&s->ttft, 100);
    text = scrape();
    has(text, "# TYPE prompt_tokens_total counter\nprompt_tokens_total{" NAME "} 7\n");
    has(text, "\nvllm:prompt_tokens_total{" NAME "} 7\n");
    has(text, "\ngeneration_tokens_total{" NAME "} 8\n");
    has(text, "\nrequest_success_total{" NAME "} 2\n");
    has(text, "# TYPE num_requests_running gauge\nnum_requests_running{" NAME "} 3\n");
    has(text, "\ngpu_cache_usage_perc{" NAME "} 0.25\n");
    has(text, "\nnum_request_max{" NAME "} 12\n");
    has(text, "\nvllm:cache_config_info{" NAME ",block_size=\"16\",num_gpu_blocks=\"8\"} 1\n");
    has(text, "# TYPE inferd_gpu_fallbacks_total counter\n"
              "inferd_gpu_fallbacks_total{" NAME ",reason=\"self_check\"} 4\n"
              "inferd_gpu_fallbacks_total{" NAME ",reason=\"algorithm\"} 0\n"
              "inferd_gpu_fallbacks_total{" NAME ",reason=\"product\"} 5\n");
    has(text, "# TYPE time_to_first_token_seconds histogram\n"
              "time_to_first_token_seconds_bucket{" NAME ",le=\"0.1\"} 1\n"
              "time_to_first_token_seconds_bucket{" NAME ",le=\"1\"} 2\n"
              "time_to_first_token_seconds_bucket{" NAME ",le=\"10\"} 2\n"
              "time_to_first_token_seconds_bucket{" NAME ",le=\"+Inf\"} 3\n"
              "time_to_first_token_seconds_sum{" NAME "} 100.55\n"
              "time_to_first_token_seconds_count{" NAME "} 3\n");
    has(text, "\nvllm:time_to_first_token_seconds_count{" NAME "} 3\n");
    xfree(text);
}

/* What NIM 1.x has, by its names. */
static void nim_names(void **state)
{
    static const char *const name[] = {
        "gpu_cache_usage_perc",        "num_requests_running",
        "num_requests_waiting",        "prompt_tokens_total",
        "generation_tokens_total",     "time_to_first_token_seconds",
        "request_success_total",       "time_per_output_token_seconds",
        "request_failure_total",       "request_prompt_tokens",
        "e2e_request_latency_seconds", "request_generation_tokens",
        "request_finish_total",        "num_request_max",
    };
    /* And NIM 2.x, which shows vLLM's. */
    static const char *const vllm[] = {
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "gpu_cache_usage_perc",
        "prefix_cache_queries_total",
        "prefix_cache_hits_total",
        "num_preemptions_total",
        "prompt_tokens_total",
        "generation_tokens_total",
        "iteration_tokens_total",
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "time_per_output_token_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
        "request_inference_time_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
        "request_max_num_generation_tokens",
        "request_params_n",
        "request_params_max_tokens",
        "request_success_total",
        "cache_config_info",
    };
    char *text = scrape(), line[128];

    (void)state;
    for (size_t i = 0; i < sizeof vllm / sizeof *vllm; i++) {
        snprintf(line, sizeof line, "# TYPE vllm:%s ", vllm[i]);
        has(text, line);
    }
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        snprintf(line, sizeof line, "# TYPE %s ", name[i]);
        has(text, line);
    }
    xfree(text);
}

static void requests(void **state)
{
    char *text;

    (void)state;
    xfree(client_ask(api, "POST", "/v1/completions", "{\"prompt\":\"a\"}", NULL));
    xfree(client_ask(api, "POST", "/v1/completions", "{\"prompt\":5}", NULL));
    xfree(client_ask(api, "GET", "/v1/nothing", NULL, NULL));
    text = scrape();
    has(text,
        "http_requests_total{method=\"POST\",handler=\"/v1/completions\",status=\"2xx\"} 1\n");
    has(text,
        "http_requests_total{method=\"POST\",handler=\"/v1/completions\",status=\"4xx\"} 1\n");
    has(text, "http_requests_total{method=\"\",handler=\"none\",status=\"4xx\"} 1\n");
    has(text, "request_finish_total{" NAME ",finished_reason=\"stop\"} 1\n");
    has(text, "request_finish_total{" NAME ",finished_reason=\"length\"} 0\n");
    xfree(text);
}

/* Every line is a comment or `name{labels} number`; a name has one TYPE, before its samples. */
static void syntax(void **state)
{
    char *text, *rest = NULL, type[128] = "";
    int samples = 0;

    (void)state;
    xfree(client_ask(api, "POST", "/v1/completions", "{\"prompt\":\"a\"}", NULL));
    text = scrape();
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_:");
        char *number, *end;

        if (strncmp(line, "# TYPE ", 7) == 0) {
            snprintf(type, sizeof type, "%.*s", (int)strcspn(line + 7, " "), line + 7);
            continue;
        }
        if (strncmp(line, "# HELP ", 7) == 0)
            continue;
        assert_true(n > 0 && strncmp(line, type, strlen(type)) == 0);
        assert_true(line[n] == ' ' || (line[n] == '{' && strstr(line, "} ")));
        number = strrchr(line, ' ') + 1;
        strtod(number, &end);
        assert_true(end > number && *end == '\0');
        samples++;
    }
    assert_true(samples > 80);
    xfree(text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(figures), T(nim_names), T(requests), T(syntax)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
