/* tokenizer_model.c - SentencePiece's ModelProto, a protocol buffer, as the spec of a GGUF
 * vocabulary: pieces, scores and types are the same, the numbers of types too.
 *
 * Read are the pieces and, of how the model was trained and normalises, what changes ids. Tokens
 * that the files beside it add lie behind the pieces, or take the place of one. Every length is
 * checked against what is left; a field of unknown number is skipped. */
#include "engine/text/tokenizer_model.h"

#include <string.h>

#include "engine/text/added.h"
#include "kernels/base/mem.h"

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };
enum { UNIGRAM = 1, BPE = 2 };
enum { MAX_TOKENS = TOKENIZER_MOST };

struct field {
    uint64_t number;
    int wire;
    uint64_t v;         /* WIRE_VARINT, WIRE_32, WIRE_64 */
    struct bytes bytes; /* WIRE_BYTES */
};
struct reading {
    const struct tokenizer_files *files;
    struct tokenizer_spec spec;
    struct added added;
    struct bytes *token;
    float *score;
    int32_t *type;
    int n_pieces, kind;
    bool prefix, one_space;
};

/* --- protocol buffers ------------------------------------------------------------------------- */

static enum status varint(struct bytes *from, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (from->n == 0)
            break;
        unsigned char c = (unsigned char)*from->p;
        *from = (struct bytes){from->p + 1, from->n - 1};
        *out |= (uint64_t)(c & 127) << shift;
        if (c < 128)
            return OK;
    }
    return fail(ERR_FORMAT, "a number does not end");
}

static enum status next_field(struct bytes *from, struct field *f)
{
    uint64_t tag, n = 0;
    TRY(varint(from, &tag));
    *f = (struct field){.number = tag >> 3, .wire = (int)(tag & 7)};
    if (f->wire == WIRE_VARINT)
        return varint(from, &f->v);
    if (f->wire == WIRE_BYTES)
        TRY(varint(from, &n));
    else if (f->wire == WIRE_64 || f->wire == WIRE_32)
        n = f->wire == WIRE_64 ? 8 : 4;
    else
        return fail(ERR_FORMAT, "a field has wire type %d", f->wire);
    if (n > from->n)
        return fail(ERR_FORMAT, "a field has %llu bytes, the file %zu more", (unsigned long long)n,
                    from->n);
    f->bytes = (struct bytes){from->p, (size_t)n};
    if (f->wire == WIRE_32)
        memcpy(&f->v, from->p, 4);
    *from = (struct bytes){from->p + n, from->n - (size_t)n};
    return OK;
}

static bool is(const struct field *f, uint64_t number, int wire)
{
    return f->number == number && f->wire == wire;
}

/* --- the model -------------------------------------------------------------------------------- */

static enum status read_piece(struct bytes from, struct bytes *token, float *score, int32_t *type)
{
    struct field f;
    *token = (struct bytes){"", 0};
    *score = 0;
    *type = TOKEN_NORMAL;
    while (from.n > 0) {
        TRY(next_field(&from, &f));
        if (is(&f, 1, WIRE_BYTES))
            *token = f.bytes;
        else if (is(&f, 2, WIRE_32))
            memcpy(score, &f.v, sizeof *score);
        else if (is(&f, 3, WIRE_VARINT))
            *type = f.v <= TOKEN_BYTE ? (int32_t)f.v : 0;
    }
    return OK;
}

static int32_t id_of(uint64_t v)
{
    return v < MAX_TOKENS ? (int32_t)v : -1; /* -1 is written with all bits */
}

static enum status read_trainer(struct reading *r, struct bytes from)
{
    struct field f;
    while (from.n > 0) {
        TRY(next_field(&from, &f));
        if (is(&f, 3, WIRE_VARINT))
            r->kind = f.v <= BPE ? (int)f.v : 0;
        else if (is(&f, 40, WIRE_VARINT))
            r->spec.unk = id_of(f.v);
        else if (is(&f, 41, WIRE_VARINT))
            r->spec.bos = id_of(f.v);
        else if (is(&f, 42, WIRE_VARINT))
            r->spec.eos = id_of(f.v);
        else if (is(&f, 24, WIRE_VARINT) && f.v)
            return fail(ERR_UNSUPPORTED, "its blanks are at the ends of words");
    }
    return OK;
}

static enum status read_normalizer(struct reading *r, struct bytes from)
{
    struct field f;
    while (from.n > 0) {
        TRY(next_field(&from, &f));
        if (is(&f, 2, WIRE_BYTES))
            r->spec.charsmap = f.bytes;
        else if (is(&f, 3, WIRE_VARINT))
            r->prefix = f.v != 0;
        else if (is(&f, 4, WIRE_VARINT))
            r->one_space = f.v != 0;
        else if (is(&f, 5, WIRE_VARINT) && !f.v)
            return fail(ERR_UNSUPPORTED, "it does not spell blanks as U+2581");
    }
    return OK;
}

static enum status count_pieces(struct bytes from, int *n)
{
    struct field f;
    *n = 0;
    while (from.n > 0) {
        TRY(next_field(&from, &f));
        *n += is(&f, 1, WIRE_BYTES);
        if (*n >= MAX_TOKENS)
            return fail(ERR_FORMAT, "it has more than %d pieces", MAX_TOKENS);
    }
    return *n > 0 ? OK : fail(ERR_FORMAT, "it has no pieces");
}

static enum status read_model(struct reading *r)
{
    struct bytes from = r->files->tokenizer;
    struct field f;
    int i = 0;
    r->kind = UNIGRAM; /* the format's own defaults, as are those of read_files */
    while (from.n > 0) {
        TRY(next_field(&from, &f));
        if (is(&f, 1, WIRE_BYTES)) {
            TRY(read_piece(f.bytes, &r->token[i], &r->score[i], &r->type[i]));
            i++;
        } else if (is(&f, 2, WIRE_BYTES)) {
            TRY(read_trainer(r, f.bytes));
        } else if (is(&f, 3, WIRE_BYTES)) {
            TRY(read_normalizer(r, f.bytes));
        }
    }
    if (r->kind != UNIGRAM && r->kind != BPE)
        return fail(ERR_UNSUPPORTED, "only BPE and unigram models are supported");
    r->spec.model = r->kind == BPE ? "llama" : "t5";
    return OK;
}

/* --- the files beside it ---------------------------------------------------------------------- */

static enum status count_all(struct reading *r, int *n)
{
    *n = r->n_pieces > r->files->n_rows ? r->n_pieces : r->files->n_rows;
    for (int i = 0; i < r->added.n; i++)
        *n = r->added.token[i].id >= *n ? (int)r->added.token[i].id + 1 : *n;
    /* A row for each token there is, or else the ids are nobody's. */
    return *n <= r->files->n_rows || *n <= r->n_pieces + r->added.n + (1 << 16)
               ? OK
               : fail(ERR_FORMAT, "token %d is added to %d pieces", *n - 1, r->n_pieces);
}

static int32_t find_token(const struct reading *r, struct bytes text)
{
    for (int id = 0; id < r->spec.n_vocab; id++)
        if (r->token[id].n == text.n && memcmp(r->token[id].p, text.p, text.n) == 0)
            return id;
    return -1;
}

/* A token that is listed under the id of a piece comes in its place, unless it is one itself. */
static void add_tokens(struct reading *r)
{
    for (int i = 0; i < r->added.n; i++) {
        const struct added_token *t = &r->added.token[i];
        if (t->id < r->n_pieces && find_token(r, t->text) >= 0)
            continue;
        r->token[t->id] = t->text;
        r->type[t->id] = t->special ? TOKEN_CONTROL : TOKEN_USER;
    }
}

static bool policy(const struct reading *r, const char *key, bool absent)
{
    const struct json *v = json_get(r->added.config, key);
    return json_is(v, JSON_BOOL) ? v->boolean : absent;
}

/* A token that the files name by its text. */
static int32_t named(const struct reading *r, const char *key, int32_t absent)
{
    struct added_token t;
    const struct json *v = added_named(&r->added, key);
    int32_t id = v && added_token_of(v, &t) ? find_token(r, t.text) : -1;
    return id >= 0 ? id : absent;
}

/* --- all -------------------------------------------------------------------------------------- */

static enum status read_all(struct reading *r, struct tokenizer **out)
{
    int n;
    TRY(count_pieces(r->files->tokenizer, &r->n_pieces));
    TRY(added_open(&r->added, r->files));
    TRY(count_all(r, &n));
    r->spec.n_vocab = n;
    r->spec.token = r->token = xcalloc((size_t)n, sizeof *r->token);
    r->spec.score = r->score = xcalloc((size_t)n, sizeof *r->score);
    r->spec.type = r->type = xcalloc((size_t)n, sizeof *r->type);
    for (int i = 0; i < n; i++) {
        r->token[i] = (struct bytes){"", 0};
        r->type[i] = TOKEN_UNUSED;
    }
    TRY(read_model(r));
    add_tokens(r);
    r->spec.add_space_prefix = r->prefix && policy(r, "add_prefix_space", true);
    r->spec.one_space = r->one_space;
    r->spec.space_once = !policy(r, "legacy", true); /* Transformers 4's class, where it matters */
    r->spec.bos = named(r, "bos_token", r->spec.bos < n ? r->spec.bos : -1);
    r->spec.eos = named(r, "eos_token", r->spec.eos < n ? r->spec.eos : -1);
    r->spec.add_bos = policy(r, "add_bos_token", r->kind == BPE);
    r->spec.add_eos = policy(r, "add_eos_token", r->kind == UNIGRAM);
    return tokenizer_new(&r->spec, out);
}

enum status tokenizer_model_read(const struct tokenizer_files *f, tokenizer_json_use *use,
                                 void *ctx, struct tokenizer **out)
{
    struct reading r = {.files = f, .prefix = true, .one_space = true};
    r.spec.unk = 0;
    r.spec.bos = 1;
    r.spec.eos = 2;
    r.spec.ends = f->ends;
    r.spec.n_ends = f->n_ends;
    enum status s = read_all(&r, out);
    if (s == OK && use)
        s = use(ctx, &r.spec, *out);
    xfree(r.token);
    xfree(r.score);
    xfree(r.type);
    added_close(&r.added);
    return s == OK ? OK : fail_in(s, "tokenizer.model");
}
