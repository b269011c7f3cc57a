/* client.c - an HTTP client for tests of the server. */
#include "tests/server/fake/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"

static int port;

void dial_to(int p)
{
    port = p;
}

struct client dial(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&at, sizeof at), 0);
    return c;
}

void hang_up(struct client *c)
{
    close(c->fd);
    buf_clear(&c->in);
}

void say(struct client *c, const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t k = send(c->fd, text + at, n - at, MSG_NOSIGNAL);
        if (k < 0 && (errno == EPIPE || errno == ECONNRESET))
            return; /* the server has seen enough */
        assert_true(k > 0);
        at += (size_t)k;
    }
}

void ask(struct client *c, const char *text)
{
    say(c, text, strlen(text));
}

bool more(struct client *c)
{
    char piece[16384];
    struct pollfd p = {c->fd, POLLIN, 0};
    if (poll(&p, 1, PATIENCE_MS) != 1)
        fail_msg("no bytes for %d ms: a lost wake-up?", PATIENCE_MS);
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n > 0)
        buf_append(&c->in, piece, (size_t)n);
    return n > 0;
}

size_t find(struct client *c, size_t from, const char *mark)
{
    for (;;) {
        char *at = c->in.len > from ? strstr(c->in.data + from, mark) : NULL;
        if (at)
            return (size_t)(at - c->in.data) + strlen(mark);
        if (!more(c))
            return 0;
    }
}

int hear(struct client *c, bool head_only, struct buf *body)
{
    size_t end = find(c, 0, "\r\n\r\n"), length = 0;
    if (!end)
        return 0;
    char *head = xstrndup(c->in.data, end);
    int status = (int)strtol(head + 9, NULL, 10);
    char *cl = strcasestr(head, "\nContent-Length:");
    if (body)
        buf_reset(body);
    if (strcasestr(head, "\nTransfer-Encoding: chunked") && !head_only) {
        for (;;) {
            size_t line = find(c, end, "\r\n");
            size_t n = line ? strtoul(c->in.data + end, NULL, 16) : 0;
            while (line && c->in.len < line + n + 2 && more(c))
                continue;
            if (!line || c->in.len < line + n + 2) {
                status = 0;
                break;
            }
            if (body)
                buf_append(body, c->in.data + line, n);
            end = line + n + 2;
            if (!n)
                break;
        }
    } else if (cl && !head_only) {
        length = strtoul(cl + 16, NULL, 10);
        while (c->in.len < end + length && more(c))
            continue;
        if (c->in.len < end + length)
            status = 0;
        else if (body)
            buf_append(body, c->in.data + end, length);
        end += length;
    } else if (!head_only && status >= 200) { /* until the connection ends */
        while (more(c))
            continue;
        if (body)
            buf_append(body, c->in.data + end, c->in.len - end);
        end = c->in.len;
    }
    xfree(head);
    buf_drop(&c->in, end < c->in.len ? end : c->in.len);
    return status;
}

int round_trip(struct client *c, const char *request, struct buf *body)
{
    ask(c, request);
    return hear(c, false, body);
}
