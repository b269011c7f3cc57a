/* serve.c - `inferd serve`: the daemon.
 *
 * The socket is bound before anything else, so a port in use costs no load, and HTTP answers before
 * the model is there (live: yes; ready: no). The main thread then only waits: for signals, and for
 * the engine's change of state. Order of closing: connections, api, engine. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "api/api.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/cmd/cmd.h"
#include "server/cmd/loader.h"
#include "server/http.h"
#include "server/logsink.h"
#include "server/signals.h"
#include "server/version.h"

enum { KEY_FILE_MAX = 1 << 20, FAULT_SECONDS = 5 };

struct server {
    const struct config *c;
    int signals, port;
    struct loader loader;
    struct api *api;
    struct http *http;
    struct arena arena; /* keys from the file */
};

/* --api-key and the lines of --api-key-file. */
static enum status read_keys(struct server *s, struct names *keys)
{
    char *text = NULL;
    size_t n = 0;
    const struct config *c = s->c;
    if (c->api_key_file)
        TRY(file_read(c->api_key_file, KEY_FILE_MAX, &text, &n));
    int lines = 1;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    const char **v = arena_alloc(&s->arena, (size_t)(c->api_key.n + lines) * sizeof *v);
    int count = 0;
    for (; count < c->api_key.n; count++)
        v[count] = c->api_key.v[count];
    for (size_t at = 0; at < n;) {
        size_t end = at + strcspn(text + at, "\n"), from = at;
        from += strspn(text + from, " \t");
        size_t len = strcspn(text + from, " \t\r\n");
        if (from < end && len && text[from] != '#')
            v[count++] = arena_strndup(&s->arena, text + from, len);
        at = end + 1;
    }
    xfree(text);
    if (c->api_key_file && count == c->api_key.n)
        return fail_field(ERR_INVALID, "api-key-file", "%s holds no key", c->api_key_file);
    *keys = (struct names){v, count};
    return OK;
}

static enum status open_api(struct server *s)
{
    struct names keys = {0};
    const struct config *c = s->c;
    TRY(read_keys(s, &keys));
    struct api_options o = {
        .key = keys.v,
        .n_keys = keys.n,
        .strict_model = c->strict_model,
        .max_body = (size_t)c->max_body,
        .keepalive = c->keepalive,
        .version = INFERD_VERSION,
        .alias = c->served_model_name.n > 1 ? c->served_model_name.v + 1 : NULL,
        .n_aliases = c->served_model_name.n > 1 ? c->served_model_name.n - 1 : 0,
    };
    s->api = api_open(s->loader.engine, &o);
    return OK;
}

/* A descriptor a connection, and some: as many as we are allowed. */
static void raise_descriptors(int64_t wanted)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r))
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_max != RLIM_INFINITY && (int64_t)r.rlim_max < wanted + 64)
        log_warn("only %llu file descriptors: fewer than %lld connections are possible",
                 (unsigned long long)r.rlim_max, (long long)wanted);
}

static enum status open_all(struct server *s)
{
    const struct config *c = s->c;
    int fd;
    TRY(http_listen(c->host, (int)c->port, &fd, &s->port));
    raise_descriptors(c->max_connections);
    enum status status = loader_open(&s->loader, c);
    if (status == OK)
        status = open_api(s);
    if (status != OK) {
        close(fd);
        return status;
    }
    struct http_options o = {
        .api = s->api,
        .fd = fd,
        .threads = (int)c->http_threads,
        .max_connections = (int)c->max_connections,
    };
    return http_open(&o, &s->http);
}

static void announce(const struct server *s)
{
    const struct config *c = s->c;
    const struct model_info *m = model_info(engine_model(s->loader.engine));
    bool v6 = strchr(c->host, ':') != NULL;
    for (const char *line = m->kernels; *line; line += strcspn(line, "\n"), line += *line == '\n')
        log_info("kernels: %.*s", (int)strcspn(line, "\n"), line);
    log_info("ready: http://%s%s%s:%d  model %s (%s %s), context %lld, %lld sequences, %s",
             v6 ? "[" : "", c->host, v6 ? "]" : "", s->port, m->id, m->arch, m->format,
             (long long)m->context, (long long)c->max_seqs, m->device);
}

/* The engine has ended every request with an error: their connections may still carry it away.
 * Nobody waits for a device in that state to give anything back. */
static int after_fault(struct server *s)
{
    double end = clock_now() + FAULT_SECONDS;
    log_error("%s", fail_text());
    http_drain(s->http);
    while (http_active(s->http) && clock_now() < end)
        if (signals_take(s->signals, 0.01))
            break;
    return EXIT_NOW | EXIT_FAULT;
}

/* Ends what runs. Returns an exit code; EXIT_NOW when a second signal came. */
static int drain(struct server *s)
{
    double end = clock_now() + s->c->drain_timeout;
    log_info("stopping: no new requests; %d running, %.0f s for them to end", http_active(s->http),
             s->c->drain_timeout);
    engine_drain(s->loader.engine);
    http_drain(s->http);
    while (http_active(s->http) || !engine_idle(s->loader.engine)) {
        int again = signals_take(s->signals, 0.01);
        if (again)
            return EXIT_NOW | (128 + again);
        if (clock_now() > end) {
            log_warn("%d requests are broken off after %.0f s", http_active(s->http),
                     s->c->drain_timeout);
            http_close(s->http);
            return EXIT_NOW; /* the engine may be in a step that never ends */
        }
    }
    if (loader_look(&s->loader) == ENGINE_FAILED)
        return after_fault(s);
    return EXIT_GOOD;
}

/* Until a signal comes, loading fails or the device does. */
static int wait_for_end(struct server *s)
{
    enum engine_state state = ENGINE_LOADING;
    for (;;) {
        struct pollfd fd[2] = {{s->signals, POLLIN, 0}, {s->loader.fd, POLLIN, 0}};
        bool moving = state == ENGINE_LOADING && s->loader.terminal;
        if (poll(fd, 2, moving ? 100 : -1) < 0 && errno != EINTR)
            return EXIT_BAD;
        if (fd[0].revents && signals_take(s->signals, 0)) {
            if (state == ENGINE_LOADING)
                return EXIT_NOW; /* nobody is being served: do not wait for the load to end */
            return drain(s);
        }
        if (state != ENGINE_LOADING && !fd[1].revents)
            continue;
        enum engine_state before = state;
        state = loader_look(&s->loader);
        if (state == ENGINE_READY && before == ENGINE_LOADING)
            announce(s);
        if (state == ENGINE_FAILED && before != ENGINE_LOADING)
            return after_fault(s);
        if (state == ENGINE_FAILED) {
            log_error("%s", fail_text());
            return EXIT_NOW | EXIT_BAD;
        }
    }
}

static void close_all(struct server *s)
{
    if (s->http)
        http_close(s->http);
    if (s->api)
        api_close(s->api);
    loader_close(&s->loader);
    arena_clear(&s->arena);
}

int cmd_serve(const struct config *c)
{
    struct server s = {.c = c, .loader = {.fd = -1}};
    logsink_open(!strcmp(c->log_format, "json"), c->log_level);
    arena_init(&s.arena, 0);
    int code = EXIT_BAD;
    if (signals_open(1, &s.signals) != OK || open_all(&s) != OK)
        log_error("%s", fail_text());
    else
        code = wait_for_end(&s);
    if (!(code & EXIT_NOW))
        close_all(&s);
    return code;
}
