/* kv.c - see kv.h. A page that nobody holds stands in one doubly linked list: empty ones at its
 * front, published ones behind in the order in which they were given back; whoever needs memory
 * takes from the front. */
#include "engine/run/kv.h"

#include <string.h>

#include "kernels/base/map.h"
#include "kernels/base/mem.h"

enum { NONE = -1 };

struct page {
    int refs;
    int32_t prev, next; /* in the free list while refs == 0 */
    int32_t chain;      /* next page in the same bucket, while published */
    bool published;
    uint64_t hash, parent;
};

struct kv {
    int n_pages, page_tokens;
    bool cache;
    struct page *page;
    int32_t *tokens; /* [n_pages, page_tokens] of published pages: a hash alone proves nothing */
    int32_t *bucket; /* [n_buckets] */
    uint32_t mask;
    int32_t first, last; /* free list */
    int n_free, reserved;
};

static void list_insert(struct kv *kv, int32_t id, bool front)
{
    struct page *p = &kv->page[id];
    p->prev = front ? NONE : kv->last;
    p->next = front ? kv->first : NONE;
    if (p->prev != NONE)
        kv->page[p->prev].next = id;
    else
        kv->first = id;
    if (p->next != NONE)
        kv->page[p->next].prev = id;
    else
        kv->last = id;
    kv->n_free++;
}

static void list_remove(struct kv *kv, int32_t id)
{
    struct page *p = &kv->page[id];
    if (p->prev != NONE)
        kv->page[p->prev].next = p->next;
    else
        kv->first = p->next;
    if (p->next != NONE)
        kv->page[p->next].prev = p->prev;
    else
        kv->last = p->prev;
    kv->n_free--;
}

struct kv *kv_new(int n_pages, int page_tokens, bool cache)
{
    struct kv *kv = xcalloc(1, sizeof *kv);
    uint32_t n_buckets = 16;
    while (n_buckets < (uint32_t)n_pages * 2)
        n_buckets *= 2;
    kv->n_pages = n_pages;
    kv->page_tokens = page_tokens;
    kv->cache = cache;
    kv->mask = n_buckets - 1;
    kv->page = xcalloc((size_t)n_pages, sizeof *kv->page);
    kv->tokens = xcalloc((size_t)n_pages * (size_t)page_tokens, sizeof *kv->tokens);
    kv->bucket = xmalloc(n_buckets * sizeof *kv->bucket);
    memset(kv->bucket, 0xff, n_buckets * sizeof *kv->bucket);
    kv->first = kv->last = NONE;
    for (int i = 0; i < n_pages; i++)
        list_insert(kv, i, false);
    return kv;
}

void kv_free(struct kv *kv)
{
    if (!kv)
        return;
    xfree(kv->page);
    xfree(kv->tokens);
    xfree(kv->bucket);
    xfree(kv);
}

int kv_available(const struct kv *kv)
{
    return kv->n_free - kv->reserved;
}

int kv_used(const struct kv *kv)
{
    return kv->n_pages - kv->n_free;
}

static uint64_t page_hash(const struct kv *kv, uint64_t parent, const int32_t *tok)
{
    return hash_bytes(tok, sizeof *tok * (size_t)kv->page_tokens, parent);
}

static int32_t find(const struct kv *kv, uint64_t hash, uint64_t parent, const int32_t *tok)
{
    size_t bytes = sizeof *tok * (size_t)kv->page_tokens;
    for (int32_t id = kv->bucket[hash & kv->mask]; id != NONE; id = kv->page[id].chain) {
        const struct page *p = &kv->page[id];
        if (p->hash == hash && p->parent == parent &&
            memcmp(kv->tokens + (size_t)id * (size_t)kv->page_tokens, tok, bytes) == 0)
            return id;
    }
    return NONE;
}

static void unpublish(struct kv *kv, int32_t id)
{
    struct page *p = &kv->page[id];
    if (!p->published)
        return;
    int32_t *link = &kv->bucket[p->hash & kv->mask];
    while (*link != id)
        link = &kv->page[*link].chain;
    *link = p->chain;
    p->published = false;
}

static void push(struct kv_pages *p, int32_t id)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->id = xrealloc(p->id, sizeof *p->id * (size_t)p->cap);
    }
    p->id[p->n++] = id;
}

int kv_match(struct kv *kv, struct kv_pages *p, const int32_t *tok, int n)
{
    const int t = kv->page_tokens;
    while ((p->n + 1) * t <= n) {
        const int32_t *at = tok + p->n * t;
        uint64_t hash = page_hash(kv, p->hash, at);
        int32_t id = find(kv, hash, p->hash, at);
        if (id == NONE || (kv->page[id].refs == 0 && kv_available(kv) < 1))
            break;
        if (kv->page[id].refs++ == 0)
            list_remove(kv, id);
        push(p, id);
        p->hash = hash;
        p->n_published++;
    }
    return p->n * t;
}

static int pages_for(const struct kv *kv, int64_t n)
{
    return (int)((n + kv->page_tokens - 1) / kv->page_tokens);
}

bool kv_reserve(struct kv *kv, struct kv_pages *p, int64_t n)
{
    int more = pages_for(kv, n) - p->n - p->reserved;
    if (more <= 0)
        return true;
    if (more > kv_available(kv))
        return false;
    p->reserved += more;
    kv->reserved += more;
    return true;
}

bool kv_grow(struct kv *kv, struct kv_pages *p, int64_t n)
{
    for (int want = pages_for(kv, n); p->n < want;) {
        if (p->reserved > 0) {
            p->reserved--;
            kv->reserved--;
        } else if (kv_available(kv) < 1) {
            return false;
        }
        int32_t id = kv->first;
        list_remove(kv, id);
        unpublish(kv, id);
        kv->page[id].refs = 1;
        push(p, id);
    }
    return true;
}

void kv_publish(struct kv *kv, struct kv_pages *p, const int32_t *tok, int n_computed)
{
    const int t = kv->page_tokens;
    for (; (p->n_published + 1) * t <= n_computed && p->n_published < p->n; p->n_published++) {
        const int32_t *at = tok + p->n_published * t;
        int32_t id = p->id[p->n_published];
        uint64_t parent = p->hash, hash = page_hash(kv, parent, at);
        p->hash = hash;
        if (find(kv, hash, parent, at) != NONE)
            continue; /* another sequence computed the same text; ours stays private */
        struct page *page = &kv->page[id];
        page->hash = hash;
        page->parent = parent;
        page->published = true;
        page->chain = kv->bucket[hash & kv->mask];
        kv->bucket[hash & kv->mask] = id;
        memcpy(kv->tokens + (size_t)id * (size_t)t, at, sizeof *at * (size_t)t);
    }
}

void kv_release(struct kv *kv, struct kv_pages *p)
{
    /* From the end, so that a text's beginning outlives its end. */
    for (int i = p->n - 1; i >= 0; i--) {
        int32_t id = p->id[i];
        if (--kv->page[id].refs > 0)
            continue;
        if (!kv->cache)
            unpublish(kv, id);
        list_insert(kv, id, !kv->page[id].published);
    }
    kv->reserved -= p->reserved;
    xfree(p->id);
    *p = (struct kv_pages){0};
}
