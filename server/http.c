/* http.c - libmicrohttpd (0.9.75 and later) to api/: one exchange a request.
 *
 *   on_line      request line: the exchange is made, path decoded
 *   on_request   first call: headers -> api_head; then the body in pieces; last call: api_begin,
 * and again after every resume while the call waits on_read      body of a streamed reply, a piece
 * a call on_end       api_end, whatever happened
 *
 * All four run on the connection's thread and alone. A connection that has nothing to send is
 * suspended and put into the watch, both inside api_suspend, under the lock of its jobs; `wake`,
 * called by a job under the same lock, takes it out and resumes it. So a wake-up either finds the
 * connection in the watch, or comes before api_suspend looks, which then sees the event. The one
 * who takes an entry out resumes: no connection is resumed twice, and none is suspended and resumed
 * in one callback, which libmicrohttpd would take for "go on running".
 *
 * An error known from the headers is still answered after the body was read and thrown away, as
 * long as it is not huge: a reply in the middle of an upload costs the connection, and often the
 * reply, because closing a socket with unread data resets it. A client that asked "Expect:
 * 100-continue" is answered at once. */
#include "server/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/watch.h"

enum {
    HEADER_BYTES = 32 * 1024, /* memory of a connection: request line and headers, reply pieces */
    MAX_HEADERS = 100,        /* more are not shown to api */
    DISCARD_TIMES = 4,      /* refused bodies up to so many times the limit are read to their end */
    BODY_RESERVE = 1 << 20, /* an announced length is believed so far */
};

struct http {
    struct api *api;
    struct MHD_Daemon *daemon;
    struct watch *watch;
    atomic_int active;
    atomic_int suspended; /* from before the suspension until after the resumption */
    atomic_bool closing;  /* replies say Connection: close */
};

struct exchange {
    struct call call;
    struct http *http;
    struct MHD_Connection *conn;
    struct watch_entry watch;
    struct arena arena; /* path, query, headers, peer */
    struct buf body;
    uint64_t n_body; /* received, kept or not */
    size_t sent;     /* bytes of call.out that libmicrohttpd has */
    bool bad_path;
    bool last;    /* the connection ends with this reply */
    bool known;   /* api has seen the call and gets its api_end */
    bool refused; /* the reply is there before the body */
    bool begun;
    bool gone; /* the client left, or the server breaks off: end without more words */
};

/* ---- the request line and headers ------------------------------------------------------------ */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. False for a bad escape or an encoded NUL. */
static bool percent_decode(char *s)
{
    char *to = s;
    for (; *s; s++) {
        char c = *s;
        if (c == '%') {
            int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);
            if (lo < 0 || hi + lo == 0)
                return false;
            c = (char)(hi << 4 | lo);
            s += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return true;
}

static void set_target(struct exchange *x, const char *uri)
{
    char *path = arena_strndup(&x->arena, uri, strlen(uri));
    if (!strncasecmp(path, "http://", 7)) { /* absolute form, as to a proxy */
        char *slash = strchr(path + 7, '/');
        path = slash ? slash : arena_strndup(&x->arena, "/", 1);
    }
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    x->call.query = query ? query : "";
    x->call.path = path;
    x->bad_path = !percent_decode(path);
}

static void wake(void *ctx);

static void *on_line(void *cls, const char *uri, struct MHD_Connection *conn)
{
    struct http *h = cls;
    struct exchange *x = xcalloc(1, sizeof *x);
    x->http = h;
    x->conn = conn;
    arena_init(&x->arena, 0);
    x->call.wake = wake;
    x->call.wake_ctx = x;
    set_target(x, uri ? uri : "");
    atomic_fetch_add(&h->active, 1);
    return x;
}

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct exchange *x = cls;
    (void)kind;
    if (x->call.n_head == MAX_HEADERS)
        return MHD_NO;
    ((struct header *)x->call.head)[x->call.n_head++] = (struct header){name, value ? value : ""};
    if (!strcasecmp(name, "x-request-id"))
        x->call.id = value;
    return MHD_YES;
}

static const char *peer_name(struct exchange *x)
{
    char name[NI_MAXHOST];
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    socklen_t n = !info                                     ? 0
                  : info->client_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                            : sizeof(struct sockaddr_in6);
    if (!n || getnameinfo(info->client_addr, n, name, sizeof name, NULL, 0, NI_NUMERICHOST))
        return "-";
    return arena_strndup(&x->arena, name, strlen(name));
}

/* Content-Length; -1 when it is not known; 0 without a body. */
static int64_t body_length(struct exchange *x)
{
    const char *n = MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, "Content-Length");
    if (MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, "Transfer-Encoding"))
        return -1;
    return n ? strtoll(n, NULL, 10) : 0; /* libmicrohttpd has checked the digits */
}

/* Whether the headers say in two ways where the body ends: someone between the client and us may
 * have believed the other, and what is a body to one of us is a request to the other. */
static bool two_lengths(const struct call *c)
{
    const char *length = NULL;
    bool chunked = false, two = false;
    for (int i = 0; i < c->n_head; i++) {
        chunked |= !strcasecmp(c->head[i].name, "Transfer-Encoding");
        if (strcasecmp(c->head[i].name, "Content-Length"))
            continue;
        two |= length && strcmp(length, c->head[i].value) != 0;
        length = c->head[i].value;
    }
    return two || (length && chunked);
}

static bool expects_continue(struct exchange *x)
{
    const char *e = MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, "Expect");
    return e && !strcasecmp(e, "100-continue");
}

/* ---- replies --------------------------------------------------------------------------------- */

static enum MHD_Result queue(struct exchange *x, struct MHD_Response *r)
{
    struct call *c = &x->call;
    if (c->type)
        MHD_add_response_header(r, "Content-Type", c->type);
    for (int i = 0; i < c->n_reply; i++)
        MHD_add_response_header(r, c->reply[i].name, c->reply[i].value);
    if (x->last || atomic_load(&x->http->closing))
        MHD_add_response_header(r, "Connection", "close");
    enum MHD_Result ok = MHD_queue_response(x->conn, (unsigned)c->status, r);
    MHD_destroy_response(r);
    return ok;
}

/* The call's `out` is the whole body; it outlives the response, whose end is on_end. */
static enum MHD_Result queue_reply(struct exchange *x)
{
    struct buf *out = &x->call.out;
    return queue(x, MHD_create_response_from_buffer(out->len, out->data ? out->data : "",
                                                    MHD_RESPMEM_PERSISTENT));
}

/* The caller has taken x out of the watch (or never got it in). x may end at once. */
static void resume(struct exchange *x)
{
    struct http *h = x->http;
    MHD_resume_connection(x->conn);
    atomic_fetch_sub(&h->suspended, 1);
}

static void suspend(void *ctx)
{
    struct exchange *x = ctx;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    atomic_fetch_add(&x->http->suspended, 1);
    MHD_suspend_connection(x->conn);
    if (!watch_add(x->http->watch, &x->watch, info->connect_fd, x->call.wake_at)) {
        x->gone = true;
        resume(x);
    }
}

/* Any thread, under a job's lock. Not suspended: nothing to do, the owner is about to look. */
static void wake(void *ctx)
{
    struct exchange *x = ctx;
    if (watch_take(x->http->watch, &x->watch))
        resume(x);
}

/* The watch's thread; the entry is out, so the exchange is ours until it resumes. */
static void watch_fired(struct watch_entry *e, enum watch_why why)
{
    struct exchange *x = (struct exchange *)((char *)e - offsetof(struct exchange, watch));
    x->gone = x->gone || why == WATCH_GONE;
    resume(x);
}

static ssize_t on_read(void *cls, uint64_t pos, char *to, size_t max)
{
    struct exchange *x = cls;
    struct call *c = &x->call;
    (void)pos;
    for (;;) {
        if (x->sent < c->out.len) {
            size_t n = c->out.len - x->sent;
            n = n < max ? n : max;
            memcpy(to, c->out.data + x->sent, n);
            x->sent += n;
            return (ssize_t)n;
        }
        buf_reset(&c->out);
        x->sent = 0;
        if (c->phase == PHASE_END)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (x->gone)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        api_resume(x->http->api, c);
        if (!c->out.len && c->phase == PHASE_STREAM && api_suspend(x->http->api, c, suspend, x))
            return 0;
    }
}

/* The request is complete, or its connection has just been resumed. */
static enum MHD_Result advance(struct exchange *x)
{
    struct call *c = &x->call;
    struct api *api = x->http->api;
    if (x->gone)
        return MHD_NO;
    if (x->begun)
        api_resume(api, c);
    else if (!x->refused)
        api_begin(api, c);
    x->begun = true;
    while (c->phase == PHASE_WAIT) {
        if (api_suspend(api, c, suspend, x))
            return MHD_YES;
        api_resume(api, c);
    }
    if (c->phase == PHASE_REPLY)
        return queue_reply(x);
    return queue(
        x, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HEADER_BYTES / 2, on_read, x, NULL));
}

/* ---- libmicrohttpd's callbacks --------------------------------------------------------------- */

static enum MHD_Result on_head(struct exchange *x, const char *method)
{
    struct call *c = &x->call;
    int64_t length = body_length(x);
    /* HEAD is GET; libmicrohttpd leaves the body out. */
    c->method = !strcmp(method, "HEAD") ? "GET" : method;
    c->head = arena_alloc(&x->arena, MAX_HEADERS * sizeof *c->head);
    MHD_get_connection_values(x->conn, MHD_HEADER_KIND, add_header, x);
    c->peer = peer_name(x);
    x->known = true;
    x->last = two_lengths(c);
    if (x->last) {
        fail(ERR_INVALID, "the headers give two different lengths of the body");
        api_refuse(x->http->api, c, ERR_INVALID);
        x->refused = true;
        return queue_reply(x);
    }
    if (x->bad_path) {
        fail_field(ERR_INVALID, "path", "the path holds a broken percent escape");
        api_refuse(x->http->api, c, ERR_INVALID);
        x->refused = true;
    } else {
        x->refused = api_head(x->http->api, c, length) != OK;
    }
    if (x->refused && length &&
        (expects_continue(x) || length > (int64_t)api_max_body(x->http->api) * DISCARD_TIMES))
        return queue_reply(x);
    if (!x->refused && length > 0)
        buf_reserve(&x->body, length < BODY_RESERVE ? (size_t)length : BODY_RESERVE);
    return MHD_YES;
}

static enum MHD_Result on_piece(struct exchange *x, const char *data, size_t n)
{
    size_t max = api_max_body(x->http->api);
    x->n_body += n;
    if (x->refused)
        return x->n_body <= (uint64_t)max * DISCARD_TIMES ? MHD_YES : MHD_NO;
    if (x->n_body > max) {
        fail(ERR_TOO_LARGE, "the body is longer than %zu bytes", max);
        api_refuse(x->http->api, &x->call, ERR_TOO_LARGE);
        x->refused = true;
        buf_clear(&x->body);
    } else {
        buf_append(&x->body, data, n);
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **ctx)
{
    struct exchange *x = *ctx;
    (void)cls, (void)conn, (void)url, (void)version;
    if (!x->known)
        return on_head(x, method);
    if (*n) {
        enum MHD_Result ok = on_piece(x, data, *n);
        *n = 0;
        return ok;
    }
    x->call.body = (struct bytes){x->body.data, x->body.len};
    return advance(x);
}

static void on_end(void *cls, struct MHD_Connection *conn, void **ctx,
                   enum MHD_RequestTerminationCode why)
{
    struct http *h = cls;
    struct exchange *x = *ctx;
    (void)conn, (void)why;
    if (!x)
        return;
    *ctx = NULL;
    if (x->known)
        api_end(h->api, &x->call);
    buf_clear(&x->body);
    arena_clear(&x->arena);
    xfree(x);
    atomic_fetch_sub(&h->active, 1);
}

/* Paths are decoded in on_line; libmicrohttpd's own copies stay as they came. */
static size_t no_unescape(void *cls, struct MHD_Connection *conn, char *s)
{
    (void)cls, (void)conn;
    return strlen(s);
}

static void on_log(void *cls, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *fmt, va_list args)
{
    char line[256];
    (void)cls;
    vsnprintf(line, sizeof line, fmt, args);
    line[strcspn(line, "\n")] = '\0';
    log_debug("http: %s", line);
}

/* ---- opening and closing --------------------------------------------------------------------- */

/* For every connection, since accepted sockets inherit: a client whose machine vanished without a
 * word is given up after about two minutes, also while its request waits and nothing is sent. */
static void give_up_on_the_dead(int fd)
{
    int on = 1, idle = 60, interval = 20, count = 3, unacknowledged_ms = 120000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

static int try_listen(const struct addrinfo *ai)
{
    int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    give_up_on_the_dead(fd);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off); /* "::" takes IPv4 too */
    if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, SOMAXCONN))
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

enum status http_listen(const char *host, int port, int *fd, int *bound)
{
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char service[8];
    snprintf(service, sizeof service, "%d", port);
    int bad = getaddrinfo(host, service, &want, &list);
    if (bad)
        return fail_field(ERR_INVALID, "host", "cannot listen on \"%s\": %s", host,
                          gai_strerror(bad));
    *fd = -1;
    for (struct addrinfo *ai = list; ai && *fd < 0; ai = ai->ai_next)
        *fd = try_listen(ai);
    int why = errno;
    freeaddrinfo(list);
    if (*fd < 0 && why == EADDRINUSE)
        return fail_field(ERR_IO, "port",
                          "port %d of %s is in use by another program; choose another with --port",
                          port, host);
    if (*fd < 0)
        return fail(ERR_IO, "cannot listen on %s port %d: %s", host, port, strerror(why));
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    getsockname(*fd, (struct sockaddr *)&at, &n);
    *bound = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                            : ((struct sockaddr_in *)&at)->sin_port);
    return OK;
}

static struct MHD_Daemon *start(struct http *h, const struct http_options *o)
{
    unsigned threads = o->threads ? (unsigned)o->threads : 4;
    unsigned connections = o->max_connections ? (unsigned)o->max_connections : 4096;
    unsigned timeout = o->idle_timeout ? (unsigned)o->idle_timeout : 120;
    connections = connections < threads ? threads : connections;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    /* The logger comes first: libmicrohttpd may complain about the options behind it. A pool of
     * one is refused, so one thread is the plain daemon. */
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, o->fd, MHD_OPTION_NOTIFY_COMPLETED, on_end, h,
        MHD_OPTION_URI_LOG_CALLBACK, on_line, h, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
        MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT, timeout,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
        threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, MHD_OPTION_END);
}

enum status http_open(const struct http_options *o, struct http **out)
{
    struct http *h = xcalloc(1, sizeof *h);
    h->api = o->api;
    enum status s = watch_open(watch_fired, &h->watch);
    if (s != OK) {
        close(o->fd);
    } else if (!(h->daemon = start(h, o))) { /* which has closed the socket */
        s = fail(ERR_IO, "cannot start the HTTP threads: %s", strerror(errno));
        watch_close(h->watch);
    }
    if (s != OK) {
        xfree(h);
        return s;
    }
    *out = h;
    return OK;
}

int http_active(const struct http *h)
{
    return atomic_load(&h->active);
}

void http_drain(struct http *h)
{
    atomic_store(&h->closing, true);
}

void http_abort(struct http *h)
{
    http_drain(h);
    watch_flush(h->watch);
}

void http_close(struct http *h)
{
    http_abort(h);
    /* A thread between taking an entry out and resuming its connection must come through:
     * libmicrohttpd ends the process when it stops with one suspended. */
    while (atomic_load(&h->suspended) > 0)
        nanosleep(&(struct timespec){0, 100000}, NULL);
    MHD_stop_daemon(h->daemon); /* closes the listening socket too */
    watch_close(h->watch);
    xfree(h);
}
