/* metrics.c - the engine's figures in Prometheus' text format (version 0.0.4).
 *
 * Names are those of NIM 1.x, which dashboards in the field query; where vLLM has the figure under
 * another name it is printed again under that. What neither has begins with inferd_. */
#include "api/metrics.h"

#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/json.h"

struct metric {
    const char *name, *alias, *help; /* alias: NULL for none */
    size_t offset;                   /* in struct engine_stats */
};

#define AT(member) offsetof(struct engine_stats, member)
/* clang-format off */
static const struct metric counter_row[] = {
    {"prompt_tokens_total",          "vllm:prompt_tokens_total",     "Prompt tokens processed.",                  AT(prompt_tokens)},
    {"generation_tokens_total",      "vllm:generation_tokens_total", "Tokens generated.",                         AT(generated_tokens)},
    {"request_success_total",        NULL,                           "Jobs that ended well.",                     AT(jobs_done)},
    {"request_failure_total",        NULL,                           "Jobs that ended with an error.",            AT(jobs_failed)},
    {"inferd_cached_tokens_total",   "vllm:prefix_cache_hits_total", "Prompt tokens taken from the prefix cache.",AT(cached_tokens)},
    {"vllm:prefix_cache_queries_total", NULL,                        "Prompt tokens looked for in the prefix cache.", AT(looked_up_tokens)},
    {"inferd_jobs_cancelled_total",  NULL,                           "Jobs cancelled, mostly by their clients.",  AT(jobs_cancelled)},
    {"inferd_jobs_rejected_total",   NULL,                           "Jobs refused at the door (queue, context).",AT(jobs_rejected)},
    {"inferd_preemptions_total",     "vllm:num_preemptions_total",   "Sequences preempted for KV pages.",         AT(preemptions)},
    {"inferd_steps_total",           NULL,                           "Batches run.",                              AT(steps)},
    {"inferd_step_rows_total",       "vllm:iteration_tokens_total",  "Rows of all batches.",                      AT(step_rows)},
    {"inferd_over_budget_steps_total", NULL,                         "Batches that took longer than planned.",    AT(over_budget_steps)},
};
static const struct metric gauge_row[] = {
    {"num_requests_running",         "vllm:num_requests_running",    "Jobs running.",                             AT(running)},
    {"num_requests_waiting",         "vllm:num_requests_waiting",    "Jobs in the queue.",                        AT(waiting)},
    {"num_request_max",              NULL,                           "Sequences that can run at once.",           AT(running_max)},
    {"inferd_kv_pages_used",         NULL,                           "KV pages in use.",                          AT(kv_pages_used)},
    {"inferd_kv_pages",              NULL,                           "KV pages in all.",                          AT(kv_pages_total)},
};
static const struct metric histogram_row[] = {
    {"time_to_first_token_seconds",  "vllm:time_to_first_token_seconds",  "From submission to the first token.", AT(ttft)},
    {"time_per_output_token_seconds","vllm:inter_token_latency_seconds",  "Between two tokens of a choice.",     AT(itl)},
    {"e2e_request_latency_seconds",  "vllm:e2e_request_latency_seconds",  "From submission to the end.",         AT(e2e)},
    {"request_prompt_tokens",        "vllm:request_prompt_tokens",        "Tokens of a prompt.",                 AT(prompt_len)},
    {"request_generation_tokens",    "vllm:request_generation_tokens",    "Tokens generated for a job.",         AT(output_len)},
    {"inferd_queue_time_seconds",    "vllm:request_queue_time_seconds",   "Time in the queue.",                  AT(queue_time)},
    {"vllm:time_per_output_token_seconds", NULL,                          "Between two tokens of a choice.",     AT(itl)},
    {"vllm:request_prefill_time_seconds", NULL,                           "From admission to the first token.",  AT(prefill_time)},
    {"vllm:request_decode_time_seconds", NULL,                            "From the first token to the last.",   AT(decode_time)},
    {"vllm:request_inference_time_seconds", NULL,                         "From admission to the end.",          AT(run_time)},
    {"vllm:request_max_num_generation_tokens", NULL,                      "Tokens of a job's longest choice.",   AT(longest_len)},
    {"vllm:request_params_n",        NULL,                                "Choices asked for.",                  AT(asked_n)},
    {"vllm:request_params_max_tokens", NULL,                              "max_tokens, where it was given.",     AT(asked_tokens)},
    {"inferd_step_time_seconds",     NULL,                                "Time of a batch.",                    AT(step_time)},
};
/* clang-format on */

struct page {
    struct buf *out;
    const char *stats;  /* struct engine_stats, as bytes */
    struct bytes label; /* model_name="..." */
};

static void write_label(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\n')
            buf_puts(out, "\\n");
        else
            buf_printf(out, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    }
    buf_putc(out, '"');
}

static void write_type(const struct page *p, const char *name, const char *help, const char *type)
{
    buf_printf(p->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_sample(const struct page *p, const char *name, double v)
{
    buf_printf(p->out, "%s{%.*s} ", name, (int)p->label.n, p->label.p);
    json_write_number(p->out, v);
    buf_putc(p->out, '\n');
}

static void write_value(const struct page *p, const struct metric *m, const char *type, double v)
{
    for (const char *name = m->name; name; name = name == m->name ? m->alias : NULL) {
        write_type(p, name, m->help, type);
        write_sample(p, name, v);
    }
}

static void write_histogram(const struct page *p, const struct metric *m, const char *name)
{
    const struct histogram *h = (const struct histogram *)(p->stats + m->offset);
    const int n = (int)p->label.n;
    uint64_t sum = 0;

    write_type(p, name, m->help, "histogram");
    for (int i = 0; i <= h->n_bound; i++) {
        sum += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        buf_printf(p->out, "%s_bucket{%.*s,le=\"", name, n, p->label.p);
        if (i < h->n_bound)
            json_write_number(p->out, h->bound[i]);
        else
            buf_puts(p->out, "+Inf");
        buf_printf(p->out, "\"} %llu\n", (unsigned long long)sum);
    }
    buf_printf(p->out, "%s_sum{%.*s} ", name, n, p->label.p);
    json_write_number(p->out,
                      (double)atomic_load_explicit(&h->sum_nano, memory_order_relaxed) / 1e9);
    /* the count is that of the buckets, so that a reader never sees it below one of them */
    buf_printf(p->out, "\n%s_count{%.*s} %llu\n", name, n, p->label.p, (unsigned long long)sum);
}

/* Facts as labels of a constant, which is how Prometheus joins them to figures. */
static void write_cache_config(const struct page *p, const struct engine_stats *s)
{
    static const char name[] = "vllm:cache_config_info";

    write_type(p, name, "How the KV cache is cut; always 1.", "gauge");
    buf_printf(p->out, "%s{%.*s,block_size=\"%lld\",num_gpu_blocks=\"%lld\"} 1\n", name,
               (int)p->label.n, p->label.p, (long long)gauge_get(&s->kv_page_tokens),
               (long long)gauge_get(&s->kv_pages_total));
}

/* What a GPU did otherwise than its configuration says; one figure, by reason. */
static void write_fallbacks(const struct page *p, const struct engine_stats *s)
{
    static const char name[] = "inferd_gpu_fallbacks_total";
    const struct {
        const char *reason;
        const struct gauge *n;
    } row[] = {{"self_check", &s->other_kernels},
               {"algorithm", &s->other_algorithms},
               {"product", &s->other_products}};

    write_type(p, name,
               "Kernels that the self-check replaced, cuBLASLt's algorithms that were not taken, "
               "shapes that it declined.",
               "counter");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        buf_printf(p->out, "%s{%.*s,reason=\"%s\"} %lld\n", name, (int)p->label.n, p->label.p,
                   row[i].reason, (long long)gauge_get(row[i].n));
}

static void write_engine(const struct page *p)
{
    const struct engine_stats *s = (const struct engine_stats *)(const void *)p->stats;
    int64_t pages = gauge_get(&s->kv_pages_total);
    const double usage = pages ? (double)gauge_get(&s->kv_pages_used) / (double)pages : 0;
    const struct metric kv = {"gpu_cache_usage_perc", "vllm:kv_cache_usage_perc",
                              "Share of the KV pages in use, 0 to 1.", 0};
    const struct metric older = {"vllm:gpu_cache_usage_perc", NULL, kv.help, 0};

    for (size_t i = 0; i < sizeof counter_row / sizeof *counter_row; i++) {
        const struct metric *m = &counter_row[i];

        write_value(p, m, "counter",
                    (double)counter_get((const struct counter *)(p->stats + m->offset)));
    }
    for (size_t i = 0; i < sizeof gauge_row / sizeof *gauge_row; i++) {
        const struct metric *m = &gauge_row[i];

        write_value(p, m, "gauge", (double)gauge_get((const struct gauge *)(p->stats + m->offset)));
    }
    write_value(p, &kv, "gauge", usage);
    write_value(p, &older, "gauge", usage);
    write_cache_config(p, s);
    write_fallbacks(p, s);
    for (size_t i = 0; i < sizeof histogram_row / sizeof *histogram_row; i++) {
        write_histogram(p, &histogram_row[i], histogram_row[i].name);
        if (histogram_row[i].alias)
            write_histogram(p, &histogram_row[i], histogram_row[i].alias);
    }
}

static void write_finished(const struct page *p, const struct api *a, const char *name)
{
    static const char *const reason[] = {[FINISH_STOP] = "stop", [FINISH_LENGTH] = "length"};

    write_type(p, name, "Choices finished, by reason.", "counter");
    for (int i = FINISH_STOP; i <= FINISH_LENGTH; i++)
        buf_printf(p->out, "%s{%.*s,finished_reason=\"%s\"} %llu\n", name, (int)p->label.n,
                   p->label.p, reason[i], (unsigned long long)counter_get(&a->finished[i]));
}

static void write_http(const struct page *p, const struct api *a)
{
    write_type(p, "http_requests_total", "HTTP requests, by endpoint and class of status.",
               "counter");
    for (int i = 0; i <= routes_count(); i++) {
        const struct route *r = i < routes_count() ? routes_at(i) : NULL;

        for (int class = 0; class < STATUS_CLASSES; class ++) {
            uint64_t n = counter_get(&a->requests[i][class]);

            if (n)
                buf_printf(p->out,
                           "http_requests_total{method=\"%s\",handler=\"%s\",status=\"%dxx\"} "
                           "%llu\n",
                           r ? r->method : "", r ? r->path : "none", class + 1,
                           (unsigned long long)n);
        }
    }
}

enum status metrics_text(struct api *a, struct call *c)
{
    const struct model *m = engine_model(a->engine);
    struct page p = {&c->out, (const char *)engine_stats(a->engine), {0}};
    struct buf label = {0};

    write_label(&label, "model_name", m ? model_info(m)->id : "");
    p.label = (struct bytes){label.data, label.len};
    write_engine(&p);
    write_finished(&p, a, "request_finish_total");
    write_finished(&p, a, "vllm:request_success_total");
    write_http(&p, a);
    write_type(&p, "process_start_time_seconds", "Start of the service, seconds since 1970.",
               "gauge");
    buf_printf(p.out, "process_start_time_seconds %lld\n", (long long)a->started_unix);
    buf_clear(&label);
    c->status = 200;
    c->type = "text/plain; version=0.0.4; charset=utf-8";
    c->phase = PHASE_REPLY;
    return OK;
}
