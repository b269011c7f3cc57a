/* map.c - linear probing over slots of 24 bytes; at most 3/4 full. Nothing is ever removed.
 *
 * The hash is keyed by a seed drawn once a process, mixed into both factors of every
 * multiplication, so that inputs which collide cannot be prepared without knowing it. */
#include "kernels/base/map.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/base/arena.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

struct slot {
    const char *key; /* NULL: free */
    uint32_t n;
    uint32_t tag; /* upper half of the hash */
    int32_t value;
};

struct map {
    struct slot *slot;
    size_t mask; /* slots - 1 */
    size_t count;
    struct arena keys;
};

static uint64_t process_seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void draw_seed(void)
{
    process_seed = rng_seed();
}

/* The 128-bit product of two words, folded. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t load32(const unsigned char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Up to 8 bytes, little end first; absent bytes are zero. Without a call of memcpy: keys are short,
 * and hashing them is what looking them up costs. */
static inline uint64_t load(const unsigned char *p, size_t n)
{
    uint64_t v;

    if (n >= 8) {
        memcpy(&v, p, sizeof v);
        return v;
    }
    if (n >= 4)
        return load32(p) | load32(p + n - 4) << 8 * (n - 4);
    if (n == 0)
        return 0;
    return p[0] | (uint64_t)p[n / 2] << 8 * (n / 2) | (uint64_t)p[n - 1] << 8 * (n - 1);
}

uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    /* odd fractions of the golden ratio and of pi: only their irregularity matters */
    uint64_t s = seed ^ 0x9e3779b97f4a7c15u;
    uint64_t t = fold(s, 0x243f6a8885a308d3u) ^ seed;
    uint64_t h = t ^ n;

    for (; n > 16; p += 16, n -= 16)
        h = fold(load(p, 8) ^ s, load(p + 8, 8) ^ h);
    if (n)
        h = fold(load(p, n) ^ s, (n > 8 ? load(p + 8, n - 8) : 0) ^ h);
    return fold(h ^ t, s ^ 0x13198a2e03707344u);
}

struct map *map_new(size_t expected)
{
    struct map *m = xcalloc(1, sizeof *m);
    size_t n = 16;

    pthread_once(&seed_once, draw_seed);
    while (n / 4 * 3 < expected)
        n *= 2;
    m->slot = xcalloc(n, sizeof *m->slot);
    m->mask = n - 1;
    arena_init(&m->keys, 0);
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    arena_clear(&m->keys);
    xfree(m->slot);
    xfree(m);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct slot *find(const struct map *m, const void *key, size_t n, uint64_t hash)
{
    uint32_t tag = (uint32_t)(hash >> 32);

    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct slot *s = &m->slot[i];

        if (!s->key || (s->tag == tag && s->n == n && (n == 0 || memcmp(s->key, key, n) == 0)))
            return s;
    }
}

static void grow(struct map *m)
{
    struct slot *old = m->slot;
    size_t n = m->mask + 1;

    m->slot = xcalloc(n * 2, sizeof *m->slot);
    m->mask = n * 2 - 1;
    for (size_t i = 0; i < n; i++) {
        if (old[i].key)
            *find(m, old[i].key, old[i].n, hash_bytes(old[i].key, old[i].n, process_seed)) = old[i];
    }
    xfree(old);
}

int32_t map_put(struct map *m, const void *key, size_t n, int32_t value, int32_t missing)
{
    uint64_t hash = hash_bytes(key, n, process_seed);
    struct slot *s = find(m, key, n, hash);
    int32_t before;

    if (s->key) {
        before = s->value;
        s->value = value;
        return before;
    }
    if (m->count + 1 > (m->mask + 1) / 4 * 3) {
        grow(m);
        s = find(m, key, n, hash);
    }
    *s = (struct slot){arena_strndup(&m->keys, key, n), (uint32_t)n, (uint32_t)(hash >> 32), value};
    m->count++;
    return missing;
}

int32_t map_get(const struct map *m, const void *key, size_t n, int32_t missing)
{
    const struct slot *s = find(m, key, n, hash_bytes(key, n, process_seed));

    return s->key ? s->value : missing;
}

size_t map_count(const struct map *m)
{
    return m->count;
}
