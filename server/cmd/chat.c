/* chat.c - `inferd chat`: a conversation in the terminal, straight on the engine.
 *
 * The conversation is kept as the text of a JSON array, since that is what the template takes; each
 * turn renders all of it again, and the engine's prefix cache keeps that cheap. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "server/cmd/cmd.h"
#include "server/cmd/loader.h"
#include "server/signals.h"

struct chat {
    const struct config *c;
    struct loader loader;
    int signals, wake;  /* descriptors to poll */
    struct buf history; /* messages as JSON, separated by commas */
    struct buf input;   /* read, not yet used */
};

static void add_message(struct chat *s, const char *role, const char *text, size_t n)
{
    buf_printf(&s->history, "%s{\"role\":\"%s\",\"content\":", s->history.len ? "," : "", role);
    json_write_string(&s->history, text, n);
    buf_putc(&s->history, '}');
}

static void start_over(struct chat *s)
{
    buf_reset(&s->history);
    if (s->c->system)
        add_message(s, "system", s->c->system, strlen(s->c->system));
}

/* The next line of standard input in `line`; false at its end or when a signal came. */
static bool read_line(struct chat *s, struct buf *line)
{
    buf_reset(line);
    for (;;) {
        const char *end = s->input.len ? memchr(s->input.data, '\n', s->input.len) : NULL;
        if (end) {
            size_t n = (size_t)(end - s->input.data);
            buf_append(line, s->input.data, n);
            buf_drop(&s->input, n + 1);
            return true;
        }
        struct pollfd fd[2] = {{STDIN_FILENO, POLLIN, 0}, {s->signals, POLLIN, 0}};
        char piece[4096];
        if (poll(fd, 2, -1) < 0 && errno != EINTR)
            return false;
        if (fd[1].revents)
            return false;
        ssize_t n = read(STDIN_FILENO, piece, sizeof piece);
        if (n <= 0) { /* a last line may lack its newline */
            buf_append(line, s->input.data, s->input.len);
            buf_reset(&s->input);
            return line->len > 0;
        }
        buf_append(&s->input, piece, (size_t)n);
    }
}

static enum status prompt_tokens(struct chat *s, struct arena *a, struct token_list *out)
{
    const struct model *m = engine_model(s->loader.engine);
    struct buf json = {0}, text = {0};
    const struct json *vars;
    buf_printf(&json, "{\"add_generation_prompt\":true,\"messages\":[%s]}", s->history.data);
    enum status status = json_parse(a, json.data, json.len, &vars);
    if (status == OK)
        status = model_render(m, vars, &text);
    if (status == OK)
        status =
            model_tokenize(m, a, (struct bytes){text.data, text.len}, true, AROUND_PROMPT, out);
    buf_clear(&json);
    buf_clear(&text);
    return status;
}

/* The engine's worker, under the job's lock. */
static void job_woke(void *ctx)
{
    uint64_t one = 1;
    if (write(((struct chat *)ctx)->wake, &one, sizeof one) != sizeof one)
        return; /* full: readable already */
}

/* Prints and keeps the answer of `job`. Ctrl-C ends it early, which is no error. */
static enum status stream_answer(struct chat *s, struct job *job, struct buf *answer)
{
    for (;;) {
        struct event ev;
        uint64_t count;
        while (job_next(job, &ev)) {
            if (ev.kind == EVENT_TEXT) {
                buf_append(answer, ev.text.p, ev.text.n);
                fwrite(ev.text.p, 1, ev.text.n, stdout);
                fflush(stdout);
            }
            if (ev.kind == EVENT_DONE)
                return OK;
            if (ev.kind == EVENT_ERROR)
                return fail(ev.status, "%s", ev.message);
        }
        struct pollfd fd[2] = {{s->wake, POLLIN, 0}, {s->signals, POLLIN, 0}};
        poll(fd, 2, -1);
        if (fd[1].revents) {
            signals_take(s->signals, 0);
            job_cancel(job);
            printf(" [stopped]");
            return OK;
        }
        if (read(s->wake, &count, sizeof count) < 0 && errno != EAGAIN)
            return fail(ERR_IO, "eventfd: %s", strerror(errno));
    }
}

/* What the options leave open the model's files say; where those say nothing at all it is a bit
 * less random than the API's neutral. */
static void set_sampling(const struct config *c, const struct sampling *asked, struct sampling *out)
{
    const bool silent = asked->temperature == 1 && asked->top_p == 1 && asked->min_p == 0 &&
                        asked->top_k == 0 && asked->repetition == 1;

    *out = *asked;
    if (silent) {
        out->temperature = 0.7F;
        out->top_p = 0.95F;
    }
    if (c->temperature >= 0)
        out->temperature = (float)c->temperature;
    if (c->top_p >= 0)
        out->top_p = (float)c->top_p;
    if (c->top_k >= 0)
        out->top_k = (int)c->top_k;
    out->has_seed = c->seed != 0;
    out->seed = (uint64_t)c->seed;
}

static enum status answer(struct chat *s)
{
    const struct config *c = s->c;
    struct arena arena;
    struct buf text = {0};
    struct job *job = NULL;
    arena_init(&arena, 0);
    struct job_spec spec = {.n = 1, .top_logprobs = -1, .max_tokens = c->max_tokens};
    set_sampling(c, &model_info(engine_model(s->loader.engine))->sampling, &spec.sampling);
    enum status status = prompt_tokens(s, &arena, &spec.prompt);
    if (status == OK)
        status = engine_submit(s->loader.engine, &spec, job_woke, s, &job);
    if (status == OK)
        status = stream_answer(s, job, &text);
    if (job)
        job_put(job);
    printf("\n");
    if (status == OK)
        add_message(s, "assistant", text.data ? text.data : "", text.len);
    buf_clear(&text);
    arena_clear(&arena);
    return status;
}

static void converse(struct chat *s)
{
    bool prompt = isatty(STDIN_FILENO);
    struct buf line = {0};
    start_over(s);
    for (;;) {
        if (prompt)
            printf("> ");
        fflush(stdout);
        if (!read_line(s, &line) || !strcmp(line.data ? line.data : "", "/exit"))
            break;
        if (!line.len)
            continue;
        if (!strcmp(line.data, "/clear")) {
            start_over(s);
            continue;
        }
        size_t before = s->history.len;
        add_message(s, "user", line.data, line.len);
        if (answer(s) != OK) { /* the question is taken back: the next one finds a sound history */
            fprintf(stderr, "inferd: %s\n", fail_text());
            s->history.len = before;
            if (s->history.data)
                s->history.data[before] = '\0';
        }
    }
    if (prompt)
        printf("\n");
    buf_clear(&line);
}

int cmd_chat(const struct config *c)
{
    struct chat s = {.c = c, .wake = -1, .loader = {.fd = -1}};
    int code = EXIT_GOOD;
    if (isatty(STDERR_FILENO))
        log_set_sink(NULL, NULL, LOG_WARN);
    s.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (signals_open(0, &s.signals) != OK || loader_open(&s.loader, c) != OK ||
        loader_wait(&s.loader, s.signals) != OK)
        code = cmd_failed();
    else
        converse(&s);
    if (code != EXIT_GOOD && s.loader.engine)
        return code | EXIT_NOW; /* perhaps in the middle of a load */
    loader_close(&s.loader);
    close(s.wake);
    buf_clear(&s.history);
    buf_clear(&s.input);
    return code;
}
