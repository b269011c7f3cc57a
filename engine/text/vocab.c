/* vocab.c - pieces lie in one block, so that 150 000 tokens cost four allocations; the table holds
 * ids only and compares with the piece. Invariant: a token that text must not become (control,
 * unknown, byte fallback) is not in the table, so no merge and no lookup can ever produce it. */
#include "engine/text/vocab.h"

#include <string.h>

#include "kernels/base/map.h"
#include "kernels/base/mem.h"

/* In this order, so that of two tokens with the same bytes the ordinary one is found. */
static const uint8_t findable[] = {TOKEN_NORMAL, TOKEN_USER, TOKEN_UNUSED};

struct bytes vocab_piece(const struct vocab *v, int32_t id)
{
    return (struct bytes){v->text + v->at[id], v->at[id + 1] - v->at[id]};
}

static bool is_piece(const struct vocab *v, int32_t id, struct bytes b)
{
    struct bytes piece = vocab_piece(v, id);
    return piece.n == b.n && memcmp(piece.p, b.p, b.n) == 0;
}

/* The slot that holds the piece, or the free one where it belongs. */
static struct vocab_slot *find(const struct vocab *v, struct bytes b, uint64_t hash)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint32_t i = (uint32_t)hash & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot *s = &v->slot[i];
        if (!s->id || (s->tag == tag && is_piece(v, (int32_t)s->id - 1, b)))
            return s;
    }
}

uint64_t vocab_hash(const struct vocab *v, const char *p, size_t n)
{
    uint64_t hash = hash_bytes(p, n, 0);
    __builtin_prefetch(&v->slot[(uint32_t)hash & v->mask]);
    return hash;
}

int32_t vocab_find_hashed(const struct vocab *v, struct bytes piece, uint64_t hash)
{
    return (int32_t)find(v, piece, hash)->id - 1;
}

int32_t vocab_find(const struct vocab *v, const char *p, size_t n)
{
    return vocab_find_hashed(v, (struct bytes){p, n}, hash_bytes(p, n, 0));
}

/* Of two tokens with the same bytes the first stays. */
static void add(struct vocab *v, int32_t id, uint64_t hash)
{
    struct bytes piece = vocab_piece(v, id);
    bool known = piece.n > 0 && !(v->added[id] & ADDED_OUTSIDE);
    struct vocab_slot *s = known ? find(v, piece, hash) : NULL;
    if (s && !s->id)
        *s = (struct vocab_slot){(uint32_t)id + 1, (uint32_t)(hash >> 32)};
}

/* All tokens of a type. Slots are fetched some tokens ahead: they lie all over the table. */
static void add_type(struct vocab *v, uint8_t type)
{
    enum { AHEAD = 16 };
    uint64_t hash[AHEAD] = {0};
    for (int32_t i = 0; i < v->n + AHEAD; i++) {
        int32_t id = i - AHEAD;
        if (id >= 0 && v->type[id] == type)
            add(v, id, hash[id % AHEAD]);
        if (i < v->n && v->type[i] == type)
            hash[i % AHEAD] = vocab_hash(v, vocab_piece(v, i).p, vocab_piece(v, i).n);
    }
}

/* A file without token types still says which ids are special. */
static enum token_type type_of(const struct tokenizer_spec *spec, int32_t id)
{
    if (spec->type)
        return (enum token_type)spec->type[id];
    if (id == spec->unk)
        return TOKEN_UNKNOWN;
    return id == spec->bos || id == spec->eos ? TOKEN_CONTROL : TOKEN_NORMAL;
}

static enum status spell_all(struct vocab *v, const struct tokenizer_spec *spec, vocab_spell *spell)
{
    struct buf all = {0};
    for (int32_t id = 0; id < v->n; id++) {
        enum token_type type = type_of(spec, id);
        v->at[id] = (uint32_t)all.len;
        v->type[id] = (uint8_t)type;
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE) {
            buf_clear(&all);
            return fail(ERR_FORMAT, "tokenizer: token %d has type %d, expected 1 to 6", id,
                        (int)type);
        }
        spell(spec->token[id], type, &all);
        if (all.len > INT32_MAX) {
            buf_clear(&all);
            return fail(ERR_FORMAT, "tokenizer: the tokens have more than 2 GiB of text");
        }
    }
    v->at[v->n] = (uint32_t)all.len;
    buf_putc(&all, 0); /* so that data is never NULL */
    v->text = all.data;
    return OK;
}

enum status vocab_init(struct vocab *v, const struct tokenizer_spec *spec, vocab_spell *spell)
{
    if (spec->n_vocab <= 0 || spec->n_vocab > TOKENIZER_MOST || !spec->token)
        return fail(ERR_FORMAT, "tokenizer: %d tokens, expected 1 to %d", spec->n_vocab,
                    TOKENIZER_MOST);
    v->n = spec->n_vocab;
    v->at = xcalloc((size_t)v->n + 1, sizeof *v->at);
    v->type = xcalloc((size_t)v->n, 1);
    v->added = xcalloc((size_t)v->n, 1);
    if (spec->added)
        memcpy(v->added, spec->added, (size_t)v->n);
    uint32_t slots = 16;
    while (slots < 2 * (uint32_t)v->n)
        slots *= 2;
    v->slot = xcalloc(slots, sizeof *v->slot);
    v->mask = slots - 1;
    TRY(spell_all(v, spec, spell));
    for (size_t pass = 0; pass < sizeof findable; pass++)
        add_type(v, findable[pass]);
    return OK;
}

void vocab_clear(struct vocab *v)
{
    xfree(v->text);
    xfree(v->at);
    xfree(v->type);
    xfree(v->added);
    xfree(v->slot);
    *v = (struct vocab){0};
}
