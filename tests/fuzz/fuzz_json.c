/* fuzz_json.c - what is parsed is written, and what was written parses to the same tree. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static bool same(const struct json *a, const struct json *b)
{
    const struct json *x = a->first, *y = b->first;

    if (a->type != b->type || a->boolean != b->boolean || a->count != b->count ||
        a->text.n != b->text.n || (a->text.n && memcmp(a->text.p, b->text.p, a->text.n) != 0) ||
        !a->key != !b->key || (a->key && strcmp(a->key, b->key) != 0))
        return false;
    for (; x && y; x = x->next, y = y->next) {
        if (!same(x, y))
            return false;
    }
    return !x && !y;
}

static void round_trip(struct arena *arena, const struct json *v)
{
    const struct json *again;
    struct buf once = {0}, twice = {0};

    json_write(&once, v);
    require(json_parse(arena, once.data, once.len, &again) == OK && same(v, again));
    json_write(&twice, again);
    require(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    buf_clear(&once);
    buf_clear(&twice);
}

/* Any bytes at all, written as a string, are valid JSON. */
static void write_bytes(struct arena *arena, const char *text, size_t n)
{
    const struct json *v;
    struct buf b = {0};
    size_t len = 0;

    while (len < n && text[len]) /* \u0000 is written, but never read */
        len++;
    json_write_string(&b, text, len);
    require(json_parse(arena, b.data, b.len, &v) == OK && v->type == JSON_STRING);
    buf_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct json *v;
    struct arena arena;

    arena_init(&arena, 64 << 20);
    if (json_parse(&arena, (const char *)data, n, &v) == OK)
        round_trip(&arena, v);
    else
        require(!v && *fail_text());
    write_bytes(&arena, (const char *)data, n);
    arena_clear(&arena);
    return 0;
}
