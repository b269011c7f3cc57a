/* loader.c - see loader.h. On a terminal one line is rewritten ten times a second; elsewhere each
 * stage is a line of the log. */
#include "server/cmd/loader.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kernels/base/log.h"

void engine_options_of(const struct config *c, struct engine_options *o,
                       struct random_model *random)
{
    *random = (struct random_model){c->random, c->format, (uint64_t)c->seed};
    *o = (struct engine_options){
        .model_path = c->model,
        .model_name = c->served_model_name.n ? c->served_model_name.v[0] : NULL,
        .device = c->device,
        .gpu_layers = c->gpu_layers,
        .kv_type = c->kv_type,
        .isa = c->isa,
        .cublaslt = c->cublaslt,
        .gpu_config = c->gpu_config,
        .gpu_cache = c->gpu_cache,
        .strict = c->strict,
        .deterministic = c->deterministic,
        .activations = c->activations,
        .threads = (int)c->threads,
        .context = c->ctx,
        .kv_bytes = c->kv_bytes,
        .max_seqs = (int)c->max_seqs,
        .queue_limit = (int)c->max_queue,
        .max_rows = (int)c->max_rows,
        .no_prefix_cache = !c->prefix_cache,
        .plain_sampling = c->generation_config && strcmp(c->generation_config, "none") == 0,
        .random = c->random ? random : NULL,
    };
}

/* The engine's worker. */
static void state_changed(void *ctx)
{
    uint64_t one = 1;
    if (write(*(int *)ctx, &one, sizeof one) != sizeof one)
        return; /* the counter is full: it is readable already */
}

enum status loader_open(struct loader *l, const struct config *c)
{
    struct engine_options o;
    *l = (struct loader){.fd = -1};
    if (!c->model && !c->random)
        return fail_field(
            ERR_INVALID, "model",
            "which model? give the path of a GGUF file or a Hugging Face directory, or set "
            "INFERD_MODEL");
    if (c->model && c->random)
        return fail_field(ERR_INVALID, "random", "either a model file or --random, not both");
    l->terminal = isatty(STDERR_FILENO) && strcmp(c->log_format, "json") != 0;
    l->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->fd < 0)
        return fail(ERR_IO, "eventfd: %s", strerror(errno));
    engine_options_of(c, &o, &l->random);
    return engine_open(&o, state_changed, &l->fd, &l->engine);
}

enum engine_state loader_look(struct loader *l)
{
    struct engine_progress p;
    uint64_t count;
    if (read(l->fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_warn("eventfd: %s", strerror(errno));
    engine_progress(l->engine, &p);
    if (p.state == ENGINE_LOADING && l->terminal)
        fprintf(stderr, "\r\033[K%s %.0f %%", p.stage, 100 * p.done);
    else if (p.state == ENGINE_LOADING && strcmp(p.stage, l->stage) != 0)
        log_info("loading: %s", p.stage);
    else if (p.state != ENGINE_LOADING && l->terminal && l->stage[0])
        fprintf(stderr, "\r\033[K");
    if (p.state != ENGINE_LOADING)
        p.stage[0] = '\0';
    memcpy(l->stage, p.stage, sizeof l->stage);
    if (p.state == ENGINE_FAILED)
        fail(p.error, "%s", p.message);
    return p.state;
}

enum status loader_wait(struct loader *l, int signal_fd)
{
    for (;;) {
        struct engine_progress p;
        enum engine_state state = loader_look(l);
        if (state == ENGINE_FAILED) {
            engine_progress(l->engine, &p);
            return p.error;
        }
        if (state != ENGINE_LOADING)
            return OK;
        struct pollfd fd[2] = {{l->fd, POLLIN, 0}, {signal_fd, POLLIN, 0}};
        poll(fd, 2, l->terminal ? 100 : -1);
        if (fd[1].revents)
            return fail(ERR_CANCELLED, "interrupted");
    }
}

void loader_close(struct loader *l)
{
    if (l->engine)
        engine_close(l->engine);
    if (l->fd >= 0)
        close(l->fd);
}
