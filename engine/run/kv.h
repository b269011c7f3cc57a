/* kv.h - the pages of the KV pool: who holds which, which are promised, and which hold a known
 * prefix.
 *
 * A page holds page_tokens positions of all layers. A page with all its positions computed and
 * known can be published under the hash of its tokens and all before them; it then stays findable
 * after its last holder has gone, until its memory is needed (least recently used first, the end of
 * a text before its beginning). Worker thread only. */
#ifndef ENGINE_RUN_KV_H
#define ENGINE_RUN_KV_H

#include <stdbool.h>
#include <stdint.h>

struct kv;

struct kv_pages { /* the pages of one sequence; zero-initialised is empty */
    int32_t *id;
    int n, cap;
    int reserved;    /* promised but not taken yet */
    int n_published; /* leading pages whose hash is settled */
    uint64_t hash;   /* of the leading n_published pages' tokens */
};

struct kv *kv_new(int n_pages, int page_tokens, bool cache);
void kv_free(struct kv *kv);
int kv_available(const struct kv *kv); /* pages neither held nor promised */
int kv_used(const struct kv *kv);      /* pages held */

/* Attaches published pages that hold a prefix of tok[0..n); returns the positions covered, a
 * multiple of page_tokens. `p` must be empty. */
int kv_match(struct kv *kv, struct kv_pages *p, const int32_t *tok, int n);
/* Promises pages so that `p` can grow to n positions. False: not enough, nothing changed. */
bool kv_reserve(struct kv *kv, struct kv_pages *p, int64_t n);
/* Takes pages so that `p` covers n positions, from the promise first. False: none left; what was
 * taken stays. */
bool kv_grow(struct kv *kv, struct kv_pages *p, int64_t n);
/* Publishes pages whose positions are all < n_computed, of a sequence with the tokens tok. */
void kv_publish(struct kv *kv, struct kv_pages *p, const int32_t *tok, int n_computed);
void kv_release(struct kv *kv, struct kv_pages *p); /* gives all back; p is empty again */

#endif
