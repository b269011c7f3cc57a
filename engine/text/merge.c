/* merge.c - joins symbols by rank, in time that stays near linear for any length of word.
 *
 * Short words, nearly all of them, are an array that is searched for its lowest rank again and
 * again. Long ones (a base64 blob, a million blanks) use buckets: for each rank the list of places
 * where a pair of that rank stood, sorted by place, and a small heap of the ranks that have any. A
 * heap of places would cost n log n with a cache miss at each step; the buckets are walked in
 * order.
 *
 * Why a bucket may be drained as a list: while rank r is drained at place p, every pair of lower
 * rank is gone but those that the join at p makes. Those contain the new token, so they lie at p or
 * left of it, and everything left in the bucket lies right of p. So whatever is added to a bucket
 * that is being drained belongs to its front, at most a few places deep. */
#include "engine/text/merge.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum {
    SHORT_WORD = 128,   /* symbols; above, searching an array costs more than the buckets */
    WORD_BYTES = 32,    /* longest word the cache holds */
    WORD_IDS = 7,       /* and its most ids: an entry is one cache line */
    CACHE_MIN = 64,     /* entries; the table grows with the text, up to: */
    CACHE_MAX = 1 << 14 /* 1 MiB, about the size of a second-level cache */
};
static const int32_t NO_RANK = INT32_MAX;

struct word { /* n == 0: empty */
    uint64_t key[WORD_BYTES / 8];
    uint8_t bytes, n;
    int32_t id[WORD_IDS];
};

struct place {
    int32_t at;   /* where the pair's left symbol begins */
    int32_t next; /* the next place in the bucket, 0: last; also links the free ones */
};
enum bucket_state { SORTED, UNSORTED, DRAINING };
struct bucket {          /* all zero is empty, so that calloc's untouched pages cost nothing */
    int32_t first, last; /* indices of places; 0: none, place 0 is never used */
    enum bucket_state state;
};

struct merge_work { /* belongs to one thread */
    const struct merges *m;
    struct word *cache;
    uint32_t cache_mask;
    struct bucket *bucket; /* [n_ranks], made when the first long word comes */
    int32_t *id;           /* of the word being joined; -1: joined to the symbol on its left */
    int32_t *span;         /* a symbol's length in places, at its first and at its last place */
    int32_t n, cap_span;
    struct place *place;
    int32_t n_places, cap_places, free_place;
    int32_t *queue; /* a heap of the ranks whose bucket is in use; the lowest first */
    int32_t n_queue, cap_queue;
    int32_t *sort;
    size_t cap_sort;
};

static uint32_t pair_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32); /* the golden ratio spreads; the high half is mixed best */
}

void merges_init(struct merges *m, size_t n_pairs)
{
    size_t slots = 16;
    while (slots < 2 * n_pairs)
        slots *= 2;
    m->slot = xmalloc(slots * sizeof *m->slot);
    m->mask = (uint32_t)(slots - 1);
    for (size_t i = 0; i < slots; i++)
        m->slot[i].left = -1;
}

void merges_clear(struct merges *m)
{
    xfree(m->slot);
    *m = (struct merges){0};
}

void merges_expect(const struct merges *m, const struct merge_pair *pair)
{
    __builtin_prefetch(&m->slot[pair_hash(pair->left, pair->right) & m->mask]);
}

void merges_add(struct merges *m, struct merge_pair pair)
{
    uint32_t i = pair_hash(pair.left, pair.right) & m->mask;
    for (; m->slot[i].left >= 0; i = (i + 1) & m->mask)
        if (m->slot[i].left == pair.left && m->slot[i].right == pair.right)
            return;
    m->slot[i] = pair;
}

static const struct merge_pair *find(const struct merges *m, int32_t left, int32_t right)
{
    uint32_t i = pair_hash(left, right) & m->mask;
    for (; m->slot[i].left >= 0; i = (i + 1) & m->mask)
        if (m->slot[i].left == left && m->slot[i].right == right)
            return &m->slot[i];
    return NULL;
}

/* --- the cache of words --- */

struct merge_work *merge_work_new(const struct merges *m, size_t text_bytes)
{
    struct merge_work *w = xcalloc(1, sizeof *w);
    uint32_t entries = CACHE_MIN;
    while (entries < CACHE_MAX && entries < text_bytes / 8)
        entries *= 2;
    w->m = m;
    w->cache = xcalloc(entries, sizeof *w->cache);
    w->cache_mask = entries - 1;
    w->n_places = 1;
    return w;
}

void merge_work_free(struct merge_work *w)
{
    xfree(w->cache);
    xfree(w->bucket);
    xfree(w->span);
    xfree(w->place);
    xfree(w->queue);
    xfree(w->sort);
    xfree(w);
}

/* The word's bytes, zero-padded, and the place in the table where it would be. */
static struct word *cache_slot(struct merge_work *w, struct bytes word,
                               uint64_t key[WORD_BYTES / 8])
{
    memset(key, 0, WORD_BYTES);
    memcpy(key, word.p, word.n);
    uint64_t h = key[0] * 0x9e3779b97f4a7c15u ^ (key[1] + word.n) * 0xc2b2ae3d27d4eb4fu;
    if (word.n > 16)
        h ^= key[2] * 0x165667b19e3779f9u ^ key[3] * 0x27d4eb2f165667c5u;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return &w->cache[(h >> 40) & w->cache_mask];
}

bool word_cache_get(struct merge_work *w, struct bytes word, struct tokens *out)
{
    uint64_t key[WORD_BYTES / 8];
    if (word.n > WORD_BYTES)
        return false;
    const struct word *e = cache_slot(w, word, key);
    if (e->n == 0 || e->bytes != word.n || memcmp(e->key, key, WORD_BYTES) != 0)
        return false;
    for (int i = 0; i < e->n; i++)
        tokens_push(out, e->id[i]);
    return true;
}

void word_cache_put(struct merge_work *w, struct bytes word, const int32_t *id, int n)
{
    uint64_t key[WORD_BYTES / 8];
    if (word.n > WORD_BYTES || n == 0 || n > WORD_IDS)
        return;
    struct word *e = cache_slot(w, word, key);
    memcpy(e->key, key, WORD_BYTES);
    e->bytes = (uint8_t)word.n;
    e->n = (uint8_t)n;
    memcpy(e->id, id, (size_t)n * sizeof *id);
}

/* --- short words --- */

static int run_short(const struct merges *m, int32_t *id, int n)
{
    int32_t rank[SHORT_WORD], merged[SHORT_WORD];
    for (int i = 0; i + 1 < n; i++) {
        const struct merge_pair *pair = find(m, id[i], id[i + 1]);
        rank[i] = pair ? pair->rank : NO_RANK;
        merged[i] = pair ? pair->merged : -1;
    }
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == NO_RANK)
            break;
        id[best] = merged[best];
        size_t behind = (size_t)(n - best - 2) * sizeof *id;
        memmove(id + best + 1, id + best + 2, behind);
        memmove(rank + best, rank + best + 1, behind);
        memmove(merged + best, merged + best + 1, behind);
        n--;
        for (int i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const struct merge_pair *pair = find(m, id[i], id[i + 1]);
            rank[i] = pair ? pair->rank : NO_RANK;
            merged[i] = pair ? pair->merged : -1;
        }
    }
    return n;
}

/* --- long words --- */

static void queue_push(struct merge_work *w, int32_t rank)
{
    if (w->n_queue == w->cap_queue) {
        w->cap_queue = w->cap_queue ? 2 * w->cap_queue : 256;
        w->queue = xrealloc(w->queue, (size_t)w->cap_queue * sizeof *w->queue);
    }
    int32_t i = w->n_queue++;
    for (; i > 0 && w->queue[(i - 1) / 2] > rank; i = (i - 1) / 2)
        w->queue[i] = w->queue[(i - 1) / 2];
    w->queue[i] = rank;
}

static void queue_pop(struct merge_work *w)
{
    int32_t last = w->queue[--w->n_queue];
    int32_t i = 0;
    for (int32_t child; (child = 2 * i + 1) < w->n_queue; i = child) {
        if (child + 1 < w->n_queue && w->queue[child + 1] < w->queue[child])
            child++;
        if (w->queue[child] >= last)
            break;
        w->queue[i] = w->queue[child];
    }
    w->queue[i] = last;
}

static int32_t place_new(struct merge_work *w, int32_t at)
{
    int32_t i = w->free_place;
    if (i) {
        w->free_place = w->place[i].next;
    } else {
        if (w->n_places >= w->cap_places) {
            w->cap_places = w->cap_places ? w->cap_places + w->cap_places / 2 : 4096;
            w->place = xrealloc(w->place, (size_t)w->cap_places * sizeof *w->place);
        }
        i = w->n_places++;
    }
    w->place[i] = (struct place){at, 0};
    return i;
}

static void bucket_add(struct merge_work *w, int32_t rank, int32_t at)
{
    struct bucket *b = &w->bucket[rank];
    int32_t i = place_new(w, at);
    if (!b->first) {
        b->first = b->last = i;
        if (b->state != DRAINING) /* then it still stands in the queue */
            queue_push(w, rank);
    } else if (b->state == DRAINING) {
        int32_t *link = &b->first;
        while (*link && w->place[*link].at < at)
            link = &w->place[*link].next;
        w->place[i].next = *link;
        if (!*link)
            b->last = i;
        *link = i;
    } else {
        if (at < w->place[b->last].at)
            b->state = UNSORTED;
        w->place[b->last].next = i;
        b->last = i;
    }
}

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void bucket_sort(struct merge_work *w, struct bucket *b)
{
    size_t n = 0;
    for (int32_t i = b->first; i; i = w->place[i].next) {
        if (n == w->cap_sort) {
            w->cap_sort = w->cap_sort ? 2 * w->cap_sort : 1024;
            w->sort = xrealloc(w->sort, w->cap_sort * sizeof *w->sort);
        }
        w->sort[n++] = w->place[i].at;
    }
    qsort(w->sort, n, sizeof *w->sort, by_value);
    n = 0;
    for (int32_t i = b->first; i; i = w->place[i].next)
        w->place[i].at = w->sort[n++];
}

static const struct merge_pair *pair_at(const struct merge_work *w, int32_t i)
{
    int32_t next = i + w->span[i];
    return next < w->n ? find(w->m, w->id[i], w->id[next]) : NULL;
}

static void pair_queue(struct merge_work *w, int32_t i)
{
    const struct merge_pair *pair = pair_at(w, i);
    if (pair)
        bucket_add(w, pair->rank, i);
}

static void join(struct merge_work *w, int32_t i, int32_t merged)
{
    int32_t next = i + w->span[i];
    int32_t span = w->span[i] + w->span[next];
    w->id[i] = merged;
    w->id[next] = -1;
    w->span[i] = w->span[i + span - 1] = span;
    if (i > 0)
        pair_queue(w, i - w->span[i - 1]);
    pair_queue(w, i);
}

static void drain(struct merge_work *w)
{
    while (w->n_queue > 0) {
        int32_t rank = w->queue[0];
        struct bucket *b = &w->bucket[rank];
        if (!b->first) {
            b->state = SORTED;
            queue_pop(w);
            continue;
        }
        if (b->state == UNSORTED)
            bucket_sort(w, b);
        b->state = DRAINING;
        int32_t i = b->first, at = w->place[i].at;
        b->first = w->place[i].next;
        w->place[i].next = w->free_place;
        w->free_place = i;
        /* A neighbour may have joined another meanwhile: then it is another pair, or none. */
        const struct merge_pair *pair = w->id[at] >= 0 ? pair_at(w, at) : NULL;
        if (pair && pair->rank == rank)
            join(w, at, pair->merged);
    }
}

/* For a word of n symbols: it begins with n pairs at most, and a join frees more places than it
 * takes. At once, since to grow a list of megabytes is to move it; pages that are never touched
 * cost nothing. */
static void make_room(struct merge_work *w, int32_t n)
{
    if (n <= w->cap_span)
        return;
    xfree(w->span);
    w->span = xmalloc((size_t)n * sizeof *w->span);
    w->cap_span = n;
    if (w->cap_places < n + 1) {
        w->cap_places = n + 1;
        w->place = xrealloc(w->place, (size_t)w->cap_places * sizeof *w->place);
    }
}

static int run_long(struct merge_work *w, int32_t *id, int n)
{
    int32_t first = 0; /* before it no two symbols join at once, so nothing is queued */
    while (first + 1 < n && !find(w->m, id[first], id[first + 1]))
        first++;
    if (first + 1 == n)
        return n;
    if (!w->bucket)
        w->bucket = xcalloc((size_t)w->m->n_ranks, sizeof *w->bucket);
    make_room(w, n);
    w->id = id;
    w->n = n;
    for (int32_t i = 0; i < n; i++)
        w->span[i] = 1;
    for (int32_t i = first; i < n; i++)
        pair_queue(w, i);
    drain(w);
    int left = 0;
    for (int32_t i = 0; i < n; i += w->span[i])
        id[left++] = id[i];
    return left;
}

int merge_run(struct merge_work *w, int32_t *id, int n)
{
    if (n < 2 || w->m->n_ranks == 0)
        return n;
    return n <= SHORT_WORD ? run_short(w->m, id, n) : run_long(w, id, n);
}
