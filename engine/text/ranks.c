/* ranks.c - vocabularies of tiktoken, tokens in the order in which text is joined to them, as a
 * tokenizer.json: tekken.json, and the lines of a tokenizer.model of Llama 3.
 *
 * The merges that tokenizer.json wants are all cuts of a token in two, in order of its rank and
 * then of its halves' ranks, as Transformers has it; a text is looked up whole first. Invariant:
 * what is written is bounded by a multiple of what was read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/json_parts.h"
#include "engine/text/loose.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"

enum {
    MAX_TOKEN = 512, /* bytes; cutting one is quadratic in them */
    MAX_GROWTH = 16, /* what is written for a byte read; true files take 2 */
    MAX_SPECIAL = 1 << 16
};
static const char llama3_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct ranked {
    struct buf bytes; /* all tokens, one behind the other */
    size_t *at;       /* [n + 1] */
    int n, cap;
    struct map *rank; /* token -> rank */
    int64_t first_id; /* of the token of rank 0 */
    size_t file_bytes;
    struct buf *out;
};

static struct bytes token_of(const struct ranked *r, int i)
{
    return (struct bytes){r->bytes.data + r->at[i], r->at[i + 1] - r->at[i]};
}

static void ranked_init(struct ranked *r, size_t file_bytes, struct buf *out)
{
    *r = (struct ranked){.out = out, .file_bytes = file_bytes};
    r->rank = map_new(file_bytes / 16);
    buf_append(&r->bytes, "", 0);
}

static void ranked_clear(struct ranked *r)
{
    buf_clear(&r->bytes);
    xfree(r->at);
    map_free(r->rank);
}

static enum status add_token(struct ranked *r, struct bytes code)
{
    if (r->n + 2 > r->cap) {
        r->cap = r->cap ? 2 * r->cap : 1024;
        r->at = xrealloc(r->at, (size_t)r->cap * sizeof *r->at);
    }
    r->at[r->n] = r->bytes.len;
    if (r->n == ADDED_MAX_ID)
        return fail(ERR_FORMAT, "there are more than %d tokens", ADDED_MAX_ID);
    if (!json_base64(code, &r->bytes))
        return fail(ERR_FORMAT, "token %d is not base64", r->n);
    r->at[++r->n] = r->bytes.len;
    struct bytes token = token_of(r, r->n - 1);
    if (token.n == 0 || token.n > MAX_TOKEN)
        return fail(ERR_FORMAT, "token %d has %zu bytes, 1 to %d are expected", r->n - 1, token.n,
                    MAX_TOKEN);
    if (map_put(r->rank, token.p, token.n, r->n - 1, -1) >= 0)
        return fail(ERR_FORMAT, "token %d is there twice", r->n - 1);
    return OK;
}

/* ---- as tokenizer.json ----------------------------------------------------------------------- */

/* The byte-level alphabet holds two characters that JSON wants escaped. */
static void put_spelled(struct buf *out, struct bytes token)
{
    for (size_t i = 0; i < token.n; i++) {
        if (token.p[i] == '"' || token.p[i] == '\\')
            buf_putc(out, '\\');
        alphabet_append(out, (unsigned char)token.p[i]);
    }
}

struct cut {
    int32_t left, right;
};

static int by_rank(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

/* The merges that make token `i`. */
static void put_cuts(struct ranked *r, int i)
{
    struct cut cut[MAX_TOKEN];
    struct bytes t = token_of(r, i);
    int n = 0;
    for (size_t k = 1; k < t.n; k++) {
        int32_t left = map_get(r->rank, t.p, k, -1);
        int32_t right = left < 0 ? -1 : map_get(r->rank, t.p + k, t.n - k, -1);
        if (right >= 0)
            cut[n++] = (struct cut){left, right};
    }
    qsort(cut, (size_t)n, sizeof *cut, by_rank);
    for (int k = 0; k < n; k++) {
        buf_putc(r->out, '"');
        put_spelled(r->out, token_of(r, cut[k].left));
        buf_putc(r->out, ' ');
        put_spelled(r->out, token_of(r, cut[k].right));
        buf_puts(r->out, "\",");
    }
}

static void end_list(struct buf *out, const char *with)
{
    if (out->data[out->len - 1] == ',')
        out->len--;
    buf_puts(out, with);
}

static enum status put_model(struct ranked *r, struct bytes pattern)
{
    struct buf *out = r->out;
    size_t most = out->len + MAX_GROWTH * r->file_bytes + 4096;
    buf_puts(out, "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
                  "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    loose_put_text(out, pattern);
    buf_puts(out, "},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","
                  "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]},"
                  "\"decoder\":{\"type\":\"ByteLevel\"},"
                  "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{");
    for (int i = 0; i < r->n; i++) {
        buf_putc(out, '"');
        put_spelled(out, token_of(r, i));
        buf_printf(out, "\":%lld,", (long long)(r->first_id + i));
    }
    end_list(out, "},\"merges\":[");
    for (int i = 0; i < r->n; i++) {
        put_cuts(r, i);
        if (out->len > most)
            return fail(ERR_FORMAT, "its tokens are made of each other in too many ways");
    }
    end_list(out, "]}}");
    return OK;
}

/* ---- tekken.json ----------------------------------------------------------------------------- */

/* Of files older than their own list, as the format's library has them. */
static const char *const old_special[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

static int64_t number(const struct json *object, const char *key, int64_t absent)
{
    int64_t v;
    return json_integer(json_get(object, key), &v) ? v : absent;
}

/* Special tokens have the first ids, `n` of them; those without a name get one. */
static enum status put_special(const struct json *root, int64_t n, struct buf *out)
{
    const struct json *list = json_get(root, "special_tokens");
    int n_old = (int)(sizeof old_special / sizeof *old_special);
    struct added_token t = {.special = true};
    bool *known = xcalloc((size_t)n + 1, sizeof *known);
    enum status s = OK;
    buf_puts(out, "{\"added_tokens\":[");
    for (const struct json *v = json_is(list, JSON_ARRAY) ? list->first : NULL; v && s == OK;
         v = v->next) {
        int64_t rank = number(v, "rank", -1);
        t.text = json_text(v, "token_str", "");
        if (rank < 0 || rank >= n || known[rank] || t.text.n == 0)
            s = fail(ERR_FORMAT, "a special token has rank %lld, or none", (long long)rank);
        else
            loose_put_added(out, &t, rank);
        known[s == OK ? rank : n] = true;
    }
    for (int64_t i = 0; i < n && s == OK; i++) {
        char name[32];
        if (known[i])
            continue;
        snprintf(name, sizeof name, "<SPECIAL_%d>", (int)i);
        t.text = bytes_of(!list && i < n_old ? old_special[i] : name);
        loose_put_added(out, &t, i);
    }
    xfree(known);
    end_list(out, "],");
    return s;
}

static enum status read_tekken(const struct json *root, struct ranked *r)
{
    const struct json *config = json_get(root, "config"), *vocab = json_get(root, "vocab");
    const struct json *list = json_get(root, "special_tokens");
    int64_t n_special =
        number(config, "default_num_special_tokens", json_is(list, JSON_ARRAY) ? list->count : 0);
    int64_t n = number(config, "default_vocab_size", ADDED_MAX_ID) - n_special;
    struct bytes pattern = json_text(config, "pattern", "");
    if (!json_is(vocab, JSON_ARRAY) || pattern.n == 0)
        return fail(ERR_FORMAT, "it has no \"vocab\", or no \"pattern\" in \"config\"");
    if (n_special < 2 || n_special > MAX_SPECIAL || n < 0)
        return fail(ERR_FORMAT, "it has %lld special tokens", (long long)n_special);
    r->first_id = n_special;
    TRY(put_special(root, n_special, r->out));
    for (const struct json *v = vocab->first; v && r->n < n; v = v->next)
        TRY(add_token(r, json_text(v, "token_bytes", "")));
    loose_put_around(r->out, bytes_of("<s>"), 1, (struct bytes){NULL, 0}, -1);
    return put_model(r, pattern);
}

enum status tekken_write(struct bytes tekken, struct buf *out)
{
    const struct json *root = NULL;
    struct ranked r;
    struct arena a;
    char *copy = json_hide_nul(tekken);
    arena_init(&a, 0);
    ranked_init(&r, tekken.n, out);
    enum status s = json_parse(&a, copy, tekken.n, &root);
    xfree(copy);
    s = s == OK ? read_tekken(root, &r) : s;
    ranked_clear(&r);
    arena_clear(&a);
    return s == OK ? OK : fail_in(s, "tekken.json");
}

/* ---- lines of base64 and rank ---------------------------------------------------------------- */

/* The next line's token, if its rank is `want`; false: it is no such line. */
static bool next_rank(struct bytes *from, int64_t want, struct bytes *code)
{
    const char *end = memchr(from->p, '\n', from->n), *blank;
    size_t n = end ? (size_t)(end - from->p) : from->n;
    int64_t rank = 0;
    *code = (struct bytes){from->p, n};
    blank = memchr(from->p, ' ', n);
    if (!blank || blank == from->p || blank + 1 == from->p + n)
        return false;
    code->n = (size_t)(blank - from->p);
    for (const char *p = blank + 1; p < from->p + n && *p != '\r'; p++) {
        if (*p < '0' || *p > '9' || rank > ADDED_MAX_ID)
            return false;
        rank = 10 * rank + (*p - '0');
    }
    *from = (struct bytes){from->p + n + (end != NULL), from->n - n - (end != NULL)};
    return rank == want;
}

bool ranks_are(struct bytes text)
{
    struct bytes code;
    return text.n > 0 && next_rank(&text, 0, &code);
}

static enum status read_ranks(struct bytes from, const struct added *added, struct ranked *r)
{
    struct bytes code;
    while (from.n > 0) {
        if (!next_rank(&from, r->n, &code))
            return fail(ERR_FORMAT, "line %d is not a token and rank %d", r->n + 1, r->n);
        TRY(add_token(r, code));
    }
    buf_puts(r->out, "{\"added_tokens\":[");
    for (int i = 0; i < added->n; i++) {
        struct added_token t = added->token[i];
        t.normalized = false;
        if (t.id >= r->n)
            loose_put_added(r->out, &t, t.id);
    }
    end_list(r->out, "],");
    return put_model(r, bytes_of(llama3_pattern));
}

enum status ranks_write(struct bytes ranks, const struct added *added, struct buf *out)
{
    struct ranked r;
    ranked_init(&r, ranks.n, out);
    enum status s = read_ranks(ranks, added, &r);
    ranked_clear(&r);
    return s == OK ? OK : fail_in(s, "tokenizer.model");
}
