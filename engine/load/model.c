/* model.c - opening a checkpoint in order: header, recipe, hyper-parameters, weights by name,
 * vocabulary, template. Then its text functions.
 *
 * Everything here is immutable after model_load; text functions run on any thread. The invariant:
 * after model_open succeeds, what can still fail is the device; after model_begin, the text too. */
#include "engine/load/model.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/load/bind.h"
#include "engine/load/generation.h"
#include "engine/load/hparams.h"
#include "engine/load/random.h"
#include "engine/load/recipe.h"
#include "engine/load/repack.h"
#include "engine/load/lexicon.h"
#include "kernels/base/log.h"
#include "kernels/base/thread.h"

enum { TEMPLATE_FILE_MOST = 1 << 20, PART_BYTES = sizeof "-00001-of-00003" - 1 };

/* ---- opening --------------------------------------------------------------------------------- */

static const char *string_key(const struct checkpoint *c, struct arena *a, const char *key)
{
    const struct value *v = checkpoint_key(c, key);

    return v && v->kind == VALUE_STRING ? arena_strndup(a, v->text.p, v->text.n) : NULL;
}

/* "llama qwen2": what is known, for messages. */
static struct buf known(bool hf)
{
    struct buf list = {0};

    for (int i = 0; hf && recipe_class_at(i); i++)
        buf_printf(&list, " %s", recipe_class_at(i)->model_type);
    for (int i = 0; !hf && recipe_at(i); i++)
        buf_printf(&list, " %s", recipe_at(i)->architecture);
    return list;
}

/* What a GGUF file that holds no model is for, for messages. */
static const char *use_of(struct bytes type)
{
    static const struct {
        const char *type, *use;
    } uses[] = {
        {"adapter", ": adapters are not loaded, merge it into its base model"},
        {"imatrix", ": it is for inferd quantize --imatrix"},
        {"logits", ": it is for inferd perplexity --reference"},
        {"mmproj", ": images and sound are not read, the text model is a file of its own"},
    };

    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        if (bytes_equal(type, uses[i].type))
            return uses[i].use;
    }
    return "";
}

static enum status model_recipe(const struct checkpoint *c, struct arena *a,
                                const struct recipe **out, bool *rope_neox)
{
    bool hf = c->format->names == NAMES_HF;
    const char *key = hf ? "model_type" : "general.architecture";
    const char *name = string_key(c, a, key);
    const struct hf_class *class = hf && name ? recipe_class(name) : NULL;
    const struct value *type = hf ? NULL : checkpoint_key(c, "general.type");
    struct buf list;
    enum status s;

    if (c->refusal)
        return fail(ERR_UNSUPPORTED, "%s: %s", c->path, c->refusal);
    if (type && type->kind == VALUE_STRING && !bytes_equal(type->text, "model"))
        return fail(ERR_UNSUPPORTED, "%s: holds no model, general.type is \"%.*s\"%s", c->path,
                    (int)(type->text.n < 64 ? type->text.n : 64), type->text.p, use_of(type->text));
    if (!name)
        return fail(ERR_FORMAT, "%s: key %s is missing", c->path, key);
    *out = class ? recipe_find(class->architecture) : hf ? NULL : recipe_find(name);
    if (*out) {
        *rope_neox = class ? class->rope_neox : (*out)->rope_neox;
        return OK;
    }
    list = known(hf);
    s = fail(ERR_UNSUPPORTED, "%s: %s %.64s is not supported (supported:%s)", c->path,
             hf ? "model_type" : "architecture", name, list.data);
    buf_clear(&list);
    return s;
}

/* The vocabulary's size is that of its list; without one, of the embedding table, which is the
 * first weight of every network. */
static void settle_vocab(const struct checkpoint *c, const struct arch *arch, struct hparams *hp)
{
    const struct ckpt_tensor *t;
    char name[256];

    bind_name(c, &arch->weights[0], 0, name, sizeof name);
    t = checkpoint_tensor(c, name);
    if (lexicon_size(c) > 0 && lexicon_size(c) < INT32_MAX)
        hp->n_vocab = (int32_t)lexicon_size(c);
    else if (!hp->n_vocab && t && t->ndim == 2)
        hp->n_vocab = (int32_t)t->shape[0];
}

static enum status open_net(struct model *m, bool rope_neox)
{
    const struct recipe *r = m->recipe;
    struct net *net = &m->net;

    net->arch = r->arch;
    TRY(hparams_read(m->ckpt, r->architecture, r->arch->hparams, &net->hp));
    net->hp.rope_neox = rope_neox;
    settle_vocab(m->ckpt, net->arch, &net->hp);
    net->layer = arena_calloc(&m->arena, (size_t)net->hp.n_layer * sizeof *net->layer);
    m->place = xcalloc(1, sizeof *m->place);
    return bind_weights(m->ckpt, r, net, m->place);
}

/* A template that does not parse costs chat, not the model: completions still work. */
static void open_template(struct model *m, const char *key, struct chat_template **out)
{
    const struct value *t = lexicon_template(m->ckpt, key);

    if (!t || template_parse(t->text.p, t->text.n, out) == OK)
        return;
    fail_in(ERR_TEMPLATE, "the chat template cannot be used");
    m->chat_error = xstrdup(fail_text()); /* not of the arena, which has another thread */
    log_warn("%s: %s", m->info.path, m->chat_error);
}

static enum status open_text(struct model *m)
{
    if (lexicon_has(m->ckpt))
        TRY(lexicon_open(m->ckpt, &m->tok));
    else
        log_warn("%s: there is no tokenizer.json, nor a " LEXICON_FILES
                 ": only token ids can be given",
                 m->ckpt->path);
    open_template(m, LEXICON_CHAT, &m->chat);
    if (m->chat)
        open_template(m, LEXICON_TOOLS, &m->tools);
    return OK;
}

/* "<id>" for every token of a model that has no vocabulary: its output can still be streamed. */
static void name_ids(struct model *m)
{
    m->id_text = arena_alloc(&m->arena, (size_t)m->net.hp.n_vocab * sizeof *m->id_text);
    for (int i = 0; i < m->net.hp.n_vocab; i++)
        snprintf(m->id_text[i], sizeof m->id_text[i], "<%d>", i);
}

/* ---- what to say about it -------------------------------------------------------------------- */

/* The name to serve under: the file's own when it can stand in a path, else the file's name. */
static const char *model_id(const struct checkpoint *c, struct arena *a)
{
    static const char *const fine =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:";
    const char *name = string_key(c, a, "general.name"), *base = strrchr(c->path, '/');
    size_t n;

    if (name && *name && strspn(name, fine) == strlen(name))
        return name;
    base = base ? base + 1 : c->path;
    n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".gguf") == 0)
        n -= 5;
    if (c->n_files > 1 && n > PART_BYTES)
        n -= PART_BYTES;
    return arena_strndup(a, base, n);
}

/* The type that most bytes have. */
static const char *main_format(const struct checkpoint *c)
{
    size_t bytes[N_DTYPE] = {0};
    int best = DT_F32;

    for (int i = 0; i < c->n_tensors; i++) {
        if (c->tensor[i].dtype >= 0)
            bytes[c->tensor[i].dtype] += c->tensor[i].bytes;
    }
    for (int t = 0; t < N_DTYPE; t++)
        best = bytes[t] > bytes[best] ? t : best;
    return dtype_info((enum dtype)best)->name;
}

static const char *spelling(const struct model *m, int32_t id)
{
    struct bytes b;

    if (!m->tok || id < 0)
        return "";
    b = tokenizer_piece(m->tok, id);
    return arena_strndup((struct arena *)(uintptr_t)&m->arena, b.p, b.n);
}

static void describe(struct model *m)
{
    const struct checkpoint *c = m->ckpt;
    struct model_info *i = &m->info;
    struct generation g;
    struct stat st;

    i->path = arena_strndup(&m->arena, c->path, strlen(c->path));
    i->created = stat(c->path, &st) == 0 ? (int64_t)st.st_mtime : 0;
    i->id = model_id(c, &m->arena);
    i->arch = m->recipe ? m->recipe->architecture : "";
    i->format = main_format(c);
    i->context = i->context_trained = m->net.hp.n_ctx;
    i->n_vocab = m->net.hp.n_vocab;
    i->device = i->kernels = i->gpu = "";
    generation_read(c, &g);
    i->sampling = g.sampling;
    i->max_tokens = g.max_tokens;
    for (int t = 0; t < c->n_tensors; t++) {
        int64_t n = 1;

        for (int d = 0; d < c->tensor[t].ndim; d++)
            n *= c->tensor[t].shape[d];
        i->n_params += n;
        i->bytes += (int64_t)c->tensor[t].bytes;
    }
}

static void describe_text(struct model *m)
{
    m->info.has_template = m->chat != NULL;
    m->info.parts = m->chat && template_takes_parts(m->chat);
    m->info.text_calls = m->chat && template_wants_text_calls(m->tools ? m->tools : m->chat);
    m->info.bos = spelling(m, m->tok ? tokenizer_bos(m->tok) : -1);
    m->info.eos = spelling(m, m->tok ? tokenizer_eos(m->tok) : -1);
    if (m->tok)
        m->info.n_vocab = tokenizer_n_vocab(m->tok);
}

/* ---- text on a thread of its own ------------------------------------------------------------- */

struct text_thread {
    pthread_t thread;
    struct model *m; /* of which the thread writes tok, chat, tools and chat_error only */
    enum status status;
    char message[512];
};

static void *read_text(void *arg)
{
    struct text_thread *t = arg;

    t->status = open_text(t->m);
    if (t->status != OK)
        snprintf(t->message, sizeof t->message, "%s", fail_text());
    return NULL;
}

static enum status begin_text(struct model *m)
{
    struct text_thread *t = xcalloc(1, sizeof *t);
    enum status s;

    t->m = m;
    s = thread_start(&t->thread, "text", read_text, t);
    if (s == OK)
        m->reading = t;
    else
        xfree(t);
    return s;
}

/* Waits for the thread; the caller then frees what this returns, NULL when there was none. */
static struct text_thread *join_text(struct model *m)
{
    struct text_thread *t = m->reading;

    if (t)
        pthread_join(t->thread, NULL);
    m->reading = NULL;
    return t;
}

static enum status end_text(struct model *m)
{
    struct text_thread *t = join_text(m);
    enum status s = t ? t->status : OK;

    if (s != OK)
        fail(s, "%s", t->message);
    xfree(t);
    if (s != OK || m->whole)
        return s;
    if (!m->tok)
        name_ids(m);
    describe_text(m);
    m->whole = true;
    return OK;
}

/* ---- opening, in order ----------------------------------------------------------------------- */

static enum status open_all(struct model *m, const char *path, const struct random_model *random)
{
    bool rope_neox = false;

    TRY(random ? random_open(random, &m->ckpt) : checkpoint_open(path, &m->ckpt));
    TRY(model_recipe(m->ckpt, &m->arena, &m->recipe, &rope_neox));
    TRY(open_net(m, rope_neox));
    describe(m);
    if (random)
        m->info.path = "";
    return random ? OK : begin_text(m);
}

static struct model *model_new(void)
{
    struct model *m = xcalloc(1, sizeof *m);

    arena_init(&m->arena, 0);
    return m;
}

enum status model_begin(const char *path, const struct random_model *random, struct model **out)
{
    struct model *m = model_new();
    enum status s = open_all(m, path, random);

    *out = m;
    if (s != OK) {
        model_close(m);
        *out = NULL;
    }
    return s;
}

enum status model_open(const char *path, const struct random_model *random, struct model **out)
{
    TRY(model_begin(path, random, out));
    enum status s = end_text(*out);

    if (s != OK) {
        model_close(*out);
        *out = NULL;
    }
    return s;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    xfree(join_text(m));
    if (m->place)
        bind_clear(m->place);
    xfree(m->place);
    template_free(m->chat);
    template_free(m->tools);
    xfree(m->chat_error);
    tokenizer_free(m->tok);
    checkpoint_close(m->ckpt);
    arena_clear(&m->arena);
    xfree(m);
}

/* ---- weights --------------------------------------------------------------------------------- */

static enum status place(struct model *m, const struct sides *on, int cut)
{
    size_t total[N_SIDE];
    struct buf report = {0};

    m->place->cut = cut;
    enum status s = repack_place(m->place, on, total);
    m->weight_bytes = total[SIDE_UPPER];
    m->lower_bytes = total[SIDE_LOWER];
    if (s != OK)
        return fail_in(s, "%s", m->ckpt->path);
    repack_report(m->place, on, &report);
    m->info.kernels = arena_strndup(&m->arena, report.data, report.len);
    buf_clear(&report);
    return OK;
}

enum status model_place(struct model *m, struct device *dev)
{
    return place(m, &(struct sides){.dev = {dev}}, 0);
}

enum status model_split(struct model *m, struct device *dev, struct device *lower, int cut)
{
    bind_untie(m->place, m->net.hp.n_layer);
    return place(m, &(struct sides){.dev = {dev, lower}}, cut);
}

void model_context(struct model *m, int64_t tokens)
{
    if (m->place) /* a network made by hand has its frequencies */
        bind_context(&m->net, m->place, tokens);
}

enum status model_load_sides(struct model *m, const struct sides *on,
                             void (*progress)(void *, double), void *ctx)
{
    TRY(repack_load(m->ckpt, m->place, on, progress, ctx));
    return end_text(m);
}

enum status model_load(struct model *m, struct device *dev, void *weights,
                       void (*progress)(void *, double), void *ctx)
{
    return model_load_sides(m, &(struct sides){{dev}, {weights}}, progress, ctx);
}

enum status model_bind_sides(struct model *m, const struct sides *on)
{
    if (m->place) /* a network made by hand is bound already */
        repack_plan(m->place, on);
    return OK;
}

enum status model_bind_plan(struct model *m, struct device *dev, void *weights)
{
    return model_bind_sides(m, &(struct sides){{dev}, {weights}});
}

void model_vectors(const struct model *m, const struct sides *on, struct pass *p)
{
    if (!on->dev[SIDE_LOWER])
        return;
    p->vectors = on->weights[SIDE_LOWER] + m->place->vectors[SIDE_LOWER];
    p->other_vectors = on->weights[SIDE_UPPER] + m->place->vectors[SIDE_UPPER];
    p->vector_bytes = m->place->vector_bytes;
}

/* ---- text ------------------------------------------------------------------------------------ */

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n >= e && strcmp(s + n - e, end) == 0;
}

static enum status open_jinja(struct model *m, const char *path)
{
    enum status s;
    size_t n;
    char *text;

    TRY(file_read(path, TEMPLATE_FILE_MOST, &text, &n));
    s = template_parse(text, n, &m->chat);
    xfree(text);
    m->info = (struct model_info){.id = "",
                                  .arch = "",
                                  .format = "",
                                  .path = "",
                                  .bos = "",
                                  .eos = "",
                                  .device = "",
                                  .kernels = "",
                                  .gpu = "",
                                  .has_template = true};
    return s == OK ? OK : fail_in(s, "%s", path);
}

static enum status open_only_text(struct model *m, const char *path)
{
    TRY(checkpoint_open(path, &m->ckpt));
    describe(m);
    TRY(open_text(m));
    describe_text(m);
    return OK;
}

enum status model_open_text(const char *path, struct model **out)
{
    struct model *m = model_new();
    enum status s = ends_with(path, ".jinja") ? open_jinja(m, path) : open_only_text(m, path);

    *out = m;
    if (s != OK) {
        model_close(m);
        *out = NULL;
    }
    return s;
}

void model_close_text(struct model *m)
{
    model_close(m);
}

/* `vars` and before its members bos_token and eos_token, unless it has them itself. The list is
 * shared: only the new heads are ours. */
static const struct json *add_tokens(const struct model *m, const struct json *vars,
                                     struct json extra[2], struct json *root)
{
    static const char *const keys[2] = {"bos_token", "eos_token"};
    const char *text[2] = {m->info.bos, m->info.eos};

    *root = (struct json){.type = JSON_OBJECT};
    if (vars && vars->type == JSON_OBJECT) {
        root->first = vars->first;
        root->count = vars->count;
    }
    for (int i = 0; i < 2; i++) {
        if (json_get(vars, keys[i]))
            continue;
        extra[i] = (struct json){
            .type = JSON_STRING, .text = bytes_of(text[i]), .key = keys[i], .next = root->first};
        root->first = &extra[i];
        root->count++;
    }
    return root;
}

enum status model_render(const struct model *m, const struct json *vars, struct buf *out)
{
    const struct json *tools = json_get(vars, "tools");
    bool with_tools = m->tools && tools && tools->type != JSON_NULL;
    struct json extra[2], root;

    if (!m->chat)
        return fail(ERR_TEMPLATE, "%s",
                    m->chat_error ? m->chat_error : "this model has no chat template");
    return template_render(with_tools ? m->tools : m->chat, add_tokens(m, vars, extra, &root), NULL,
                           out);
}

enum status model_tokenize(const struct model *m, struct arena *a, struct bytes text, bool special,
                           enum around around, struct token_list *out)
{
    static const unsigned flag[] = {
        [AROUND_NOTHING] = 0, [AROUND_PROMPT] = ENCODE_PROMPT, [AROUND_TEXT] = ENCODE_BOS};
    struct tokens t = {0};
    enum status s;

    if (!m->tok)
        return fail(ERR_UNSUPPORTED,
                    "this model has no vocabulary: give token ids instead of text");
    s = tokenizer_encode(m->tok, text, (special ? ENCODE_SPECIAL : 0) | flag[around], &t);
    if (s == OK) {
        out->id = arena_alloc(a, ((size_t)t.n + 1) * sizeof *out->id);
        out->n = t.n;
        if (!out->id)
            s = fail(ERR_TOO_LARGE, "the text has %d tokens, more than this request may hold", t.n);
        else if (t.n)
            memcpy(out->id, t.id, (size_t)t.n * sizeof *out->id);
    }
    tokens_clear(&t);
    return s;
}

struct bytes model_piece(const struct model *m, int32_t token)
{
    if (m->tok)
        return tokenizer_piece(m->tok, token);
    if (!m->id_text || token < 0 || token >= m->net.hp.n_vocab)
        return (struct bytes){NULL, 0};
    return bytes_of(m->id_text[token]);
}
