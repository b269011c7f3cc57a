/* fuzz_chat.c - any bytes as the body of any POST endpoint: never a 5xx, never a job from a refused
 * call, and memory in proportion. The first byte chooses the endpoint. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/log.h"
#include "tests/api/fake/floor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void silent(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static void check(bool good)
{
    if (!good)
        abort();
}

/* What is not a stream must be JSON. Our own parser refuses \u0000, which the byte 0 as a token
 * rightly becomes. */
static void check_reply(struct client *c)
{
    const struct json *reply;
    struct arena a = {0};

    check(c->call.status == 200 || (c->call.status >= 400 && c->call.status < 500));
    check(c->call.status == 200 || fake_n_jobs() == 0);
    if (c->call.phase == PHASE_REPLY && !strstr(c->answer.data, "\\u0000"))
        check(json_parse(&a, c->answer.data, c->answer.len, &reply) == OK);
    arena_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const path[] = {"/v1/chat/completions", "/v1/completions", "/tokenize",
                                       "/detokenize"};
    struct client c;
    struct api *api;

    if (n == 0)
        return 0;
    api = floor_open(NULL);
    log_set_sink(silent, NULL, LOG_ERROR);
    client_begin(&c, api, "POST", path[data[0] % 4], NULL,
                 (struct bytes){(const char *)data + 1, n - 1});
    check(client_pump(&c));
    check_reply(&c);
    check(c.call.arena.used < (size_t)64 << 10 || c.call.arena.used < 400 * n);
    client_end(&c);
    floor_close(api);
    return 0;
}
