/* client.c - see client.h. */
#include "tests/api/fake/client.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/mem.h"

static void on_wake(void *ctx)
{
    (void)ctx; /* the test pumps when it wants to */
}

static void on_suspend(void *ctx)
{
    ((struct client *)ctx)->suspended++;
}

static int split_head(char *lines, struct header *head, int max)
{
    char *rest = NULL;
    int n = 0;

    for (char *line = strtok_r(lines, "\n", &rest); line && n < max;
         line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strchr(line, ':');

        assert(colon);
        *colon = '\0';
        head[n++] = (struct header){line, colon + 1 + strspn(colon + 1, " ")};
    }
    return n;
}

void client_begin(struct client *c, struct api *a, const char *method, const char *path,
                  const char *head, struct bytes body)
{
    *c = (struct client){.api = a};
    snprintf(c->lines, sizeof c->lines, "%s", head ? head : "");
    c->call = (struct call){.method = method,
                            .path = path,
                            .query = "",
                            .id = "t1",
                            .head = c->header,
                            .n_head = split_head(c->lines, c->header, 8),
                            .peer = "127.0.0.1",
                            .wake = on_wake,
                            .wake_ctx = c};
    if (api_head(a, &c->call, -1) != OK)
        return;
    c->call.body = body;
    api_begin(a, &c->call);
}

bool client_pump(struct client *c)
{
    for (;;) {
        buf_append(&c->answer, c->call.out.data, c->call.out.len);
        buf_reset(&c->call.out);
        if (c->call.phase == PHASE_REPLY || c->call.phase == PHASE_END)
            return true;
        if (api_suspend(c->api, &c->call, on_suspend, c))
            return false;
        api_resume(c->api, &c->call);
    }
}

void client_end(struct client *c)
{
    api_end(c->api, &c->call);
    buf_clear(&c->answer);
}

/* `"created":1700000000` -> `"created":0` everywhere. */
static char *without_time(const char *s)
{
    static const char name[] = "\"created\":";
    const size_t n = sizeof name - 1;
    char *copy = xstrdup(s), *to = copy;

    while (*s) {
        if (strncmp(s, name, n) != 0) {
            *to++ = *s++;
            continue;
        }
        memcpy(to, name, n);
        to += n;
        *to++ = '0';
        for (s += n; isdigit((unsigned char)*s);)
            s++;
    }
    *to = '\0';
    return copy;
}

char *client_ask(struct api *a, const char *method, const char *path, const char *body, int *status)
{
    struct client c;
    bool whole;
    char *answer;

    client_begin(&c, a, method, path, NULL, bytes_of(body));
    whole = client_pump(&c);
    assert(whole);
    if (status)
        *status = whole ? c.call.status : 0;
    answer = without_time(c.answer.data ? c.answer.data : "");
    client_end(&c);
    return answer;
}

const char *client_header(const struct client *c, const char *name)
{
    for (int i = 0; i < c->call.n_reply; i++) {
        if (strcasecmp(c->call.reply[i].name, name) == 0)
            return c->call.reply[i].value;
    }
    return NULL;
}
