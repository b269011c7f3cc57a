/* loose.c - vocab.json with merges.txt, and vocab.txt, as a tokenizer.json.
 *
 * The files hold words only; how a text is cut into them is a fact about the class that
 * tokenizer_config.json names, or of the network's usual one. The classes here are those whose
 * rules are known from Transformers; any other is refused, since a guess would be answered with
 * wrong tokens, not with an error. */
#include "engine/text/loose.h"

#include <string.h>

#include "engine/text/json_parts.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"

enum { N_NAMED = 7 };
static const char *const named_key[N_NAMED] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};
enum { SEP = 3, CLS = 5 };

/* clang-format off */
static const struct rules {
    const char *classes, *networks; /* lists, each name between blanks */
    const char *file;               /* what they read */
    bool qwen, around;
    const char *named[N_NAMED];     /* what stands for names that no file has */
} rules[] = {
    {" Qwen2Tokenizer ", " qwen2 qwen2_moe qwen2_vl qwen2_5_vl qwen3 qwen3_moe ", "vocab.json",
     true, false, {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>", NULL, NULL}},
    {" GPT2Tokenizer CodeGenTokenizer ", " gpt2 codegen gptj gpt_neo opt ", "vocab.json",
     false, false, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL, NULL, NULL}},
    {" RobertaTokenizer BartTokenizer LongformerTokenizer LEDTokenizer MvpTokenizer ",
     " roberta bart longformer led mvp ", "vocab.json",
     false, true, {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}},
    {" BertTokenizer DistilBertTokenizer ElectraTokenizer MobileBertTokenizer SqueezeBertTokenizer"
     " ConvBertTokenizer LayoutLMTokenizer LxmertTokenizer ",
     " bert distilbert electra mobilebert squeezebert convbert layoutlm lxmert ", "vocab.txt",
     false, true, {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}},
};
/* clang-format on */
static const char qwen_splits[] =
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},";

struct writing {
    const struct loose_files *files;
    const struct rules *rules;
    struct added added;
    struct map *ids; /* token -> id */
    int64_t next;    /* the first id that no token has */
    struct bytes named[N_NAMED];
    struct buf *out;
};

bool loose_has(const struct loose_files *l)
{
    return l->vocab.n > 0 || l->words.n > 0 || l->tekken.n > 0 || l->ranks.n > 0;
}

/* ---- which rules ----------------------------------------------------------------------------- */

static bool lists(const char *names, struct bytes name)
{
    for (const char *p = names + 1; *p;) {
        size_t n = strcspn(p, " ");
        if (n == name.n && memcmp(p, name.p, n) == 0)
            return true;
        p += n + 1;
    }
    return false;
}

static enum status find_rules(struct writing *w)
{
    struct bytes class = json_text(w->added.config, "tokenizer_class", "");
    struct bytes network = w->files->network;
    const char *file = w->files->words.n ? "vocab.txt" : "vocab.json";
    if (class.n > 4 && memcmp(class.p + class.n - 4, "Fast", 4) == 0)
        class.n -= 4;
    if (bytes_equal(class, "PreTrainedTokenizer") || bytes_equal(class, "TokenizersBackend"))
        class.n = 0; /* names of no rules */
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && !w->rules; i++) {
        bool is = class.n ? lists(rules[i].classes, class) : lists(rules[i].networks, network);
        if (is && strcmp(rules[i].file, file) == 0)
            w->rules = &rules[i];
    }
    if (w->rules)
        return OK;
    return fail(ERR_UNSUPPORTED,
                "%s: how %s%.*s cuts text is not known, only how these do:%s%s%s%s; a "
                "tokenizer.json beside it would say (Transformers writes one: "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...))",
                file, class.n ? "tokenizer_class " : "a network of model_type ",
                (int)(class.n          ? class.n < 64 ? class.n : 64
                      : network.n < 64 ? network.n
                                       : 64),
                class.n     ? class.p
                : network.p ? network.p
                            : "",
                rules[0].classes, rules[1].classes + 1, rules[2].classes + 1, rules[3].classes + 1);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

void loose_put_text(struct buf *out, struct bytes text)
{
    json_write_string(out, text.p, text.n);
}

void loose_put_added(struct buf *out, const struct added_token *t, int64_t id)
{
    static const char *const word[] = {"false", "true"};
    buf_printf(out, "{\"id\":%lld,\"content\":", (long long)id);
    loose_put_text(out, t->text);
    buf_printf(
        out, ",\"single_word\":%s,\"lstrip\":%s,\"rstrip\":%s,\"normalized\":%s,\"special\":%s},",
        word[t->single], word[t->lstrip], word[t->rstrip], word[t->normalized], word[t->special]);
}

static void put_token(struct writing *w, const struct added_token *t)
{
    int64_t id = map_get(w->ids, t->text.p, t->text.n, -1);
    id = id >= 0 ? id : t->id >= 0 ? t->id : w->next;
    map_put(w->ids, t->text.p, t->text.n, (int32_t)id, -1);
    w->next = id >= w->next ? id + 1 : w->next;
    loose_put_added(w->out, t, id);
}

static bool is_listed(const struct added *a, struct bytes text)
{
    for (int i = 0; i < a->n; i++)
        if (bytes_equal(a->token[i].text, text.p))
            return true;
    return false;
}

static void put_named(struct writing *w, int i)
{
    const struct json *v = added_named(&w->added, named_key[i]);
    struct added_token t = {.text = bytes_of(w->rules->named[i]), .id = -1};
    if (v && !added_token_of(v, &t))
        return; /* null: none */
    if (!v && (t.text.n == 0 || map_get(w->ids, t.text.p, t.text.n, -1) < 0))
        return; /* the class's own, which this vocabulary has not */
    t.special = true;
    w->named[i] = t.text;
    for (int k = 0; k < i; k++) /* several names of one token */
        if (w->named[k].n == t.text.n && memcmp(w->named[k].p, t.text.p, t.text.n) == 0)
            return;
    if (!is_listed(&w->added, t.text))
        put_token(w, &t);
}

static void put_added(struct writing *w)
{
    static const char *const more[] = {"additional_special_tokens", "extra_special_tokens"};
    struct added_token t;
    buf_puts(w->out, "{\"added_tokens\":[");
    for (int i = 0; i < w->added.n; i++)
        put_token(w, &w->added.token[i]);
    for (int i = 0; i < N_NAMED; i++)
        put_named(w, i);
    for (int i = 0; i < 2; i++) {
        const struct json *list = added_named(&w->added, more[i]);
        for (const struct json *v = json_is(list, JSON_ARRAY) ? list->first : NULL; v; v = v->next)
            if (added_token_of(v, &t) && !is_listed(&w->added, t.text)) {
                t.special = true;
                put_token(w, &t);
            }
    }
    if (w->out->data[w->out->len - 1] == ',')
        w->out->len--;
    buf_puts(w->out, "],");
}

/* ---- the parts ------------------------------------------------------------------------------- */

void loose_put_around(struct buf *out, struct bytes first, int64_t before, struct bytes last,
                      int64_t behind)
{
    static const char text[] = "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}";
    const struct bytes token[2] = {first, last};
    const int64_t id[2] = {before, behind};
    buf_puts(out, "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[");
    for (int i = 0; i < 2; i++) {
        buf_puts(out, i == 0 ? "" : text);
        if (id[i] < 0)
            continue;
        buf_puts(out, i == 0 ? "{\"SpecialToken\":{\"id\":" : ",{\"SpecialToken\":{\"id\":");
        loose_put_text(out, token[i]);
        buf_puts(out, i == 0 ? ",\"type_id\":0}}," : ",\"type_id\":0}}");
    }
    buf_puts(out, "],\"special_tokens\":{");
    for (int i = 0; i < 2; i++) {
        bool same = i == 1 && id[0] == id[1]; /* a key stands once */
        if (id[i] < 0 || same)
            continue;
        buf_puts(out, i == 1 && id[0] >= 0 ? "," : "");
        loose_put_text(out, token[i]);
        buf_puts(out, ":{\"id\":");
        loose_put_text(out, token[i]);
        buf_printf(out, ",\"ids\":[%lld],\"tokens\":[", (long long)id[i]);
        loose_put_text(out, token[i]);
        buf_puts(out, "]}");
    }
    buf_puts(out, "}},");
}

static const char *flag(const struct writing *w, const char *key, bool absent)
{
    return json_flag(w->added.config, key, absent) ? "true" : "false";
}

static void put_parts(struct writing *w)
{
    struct buf *out = w->out;
    int64_t id[2] = {-1, -1};
    if (w->files->words.n) {
        const char *lower = flag(w, "do_lower_case", true);
        buf_printf(out,
                   "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
                   "\"handle_chinese_chars\":%s,\"strip_accents\":%s,\"lowercase\":%s},"
                   "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
                   "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},",
                   flag(w, "tokenize_chinese_chars", true),
                   flag(w, "strip_accents", strcmp(lower, "true") == 0), lower);
    } else {
        const char *space = flag(w, "add_prefix_space", false);
        bool qwen = w->rules->qwen;
        buf_printf(out,
                   "\"normalizer\":%s,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
                   "%s{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"trim_offsets\":true,"
                   "\"use_regex\":%s}]},\"decoder\":{\"type\":\"ByteLevel\"},",
                   qwen ? "{\"type\":\"NFC\"}" : "null", qwen ? qwen_splits : "", space,
                   qwen ? "false" : "true");
    }
    for (int i = 0; w->rules->around && i < 2; i++) {
        struct bytes t = w->named[i == 0 ? CLS : SEP];
        id[i] = t.n ? map_get(w->ids, t.p, t.n, -1) : -1;
    }
    if (id[0] >= 0 || id[1] >= 0)
        loose_put_around(out, w->named[CLS], id[0], w->named[SEP], id[1]);
}

/* ---- vocab.json and merges.txt --------------------------------------------------------------- */

static bool next_line(struct bytes *from, struct bytes *line)
{
    if (from->n == 0)
        return false;
    const char *end = memchr(from->p, '\n', from->n);
    size_t n = end ? (size_t)(end - from->p) : from->n;
    *line = (struct bytes){from->p, n};
    *from = (struct bytes){from->p + n + (end != NULL), from->n - n - (end != NULL)};
    if (line->n > 0 && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

static enum status put_merges(struct writing *w)
{
    struct bytes from = w->files->merges, line;
    if (from.n == 0)
        return fail(ERR_FORMAT, "vocab.json: there is no merges.txt beside it");
    buf_puts(w->out, ",\"merges\":[");
    for (int n = 0; next_line(&from, &line); n++) {
        if (line.n == 0 || (n == 0 && line.n > 8 && memcmp(line.p, "#version", 8) == 0))
            continue;
        const char *blank = memchr(line.p, ' ', line.n);
        size_t left = blank ? (size_t)(blank - line.p) : 0;
        if (left == 0 || left + 1 == line.n || memchr(blank + 1, ' ', line.n - left - 1))
            return fail(ERR_FORMAT, "merges.txt: line %d is not two tokens and a blank", n + 1);
        loose_put_text(w->out, line);
        buf_putc(w->out, ',');
    }
    if (w->out->data[w->out->len - 1] == ',')
        w->out->len--;
    buf_puts(w->out, "]");
    return OK;
}

static enum status read_vocab(struct writing *w)
{
    const struct json *vocab = NULL;
    enum status s = json_parse(&w->added.arena, w->files->vocab.p, w->files->vocab.n, &vocab);
    if (s == OK && !json_is(vocab, JSON_OBJECT))
        s = fail(ERR_FORMAT, "it is not an object of tokens and ids");
    if (s != OK)
        return fail_in(s, "vocab.json");
    w->ids = map_new((size_t)vocab->count);
    for (const struct json *v = vocab->first; v; v = v->next) {
        int64_t id;
        if (!json_integer(v, &id) || id < 0 || id >= ADDED_MAX_ID)
            return fail(ERR_FORMAT, "vocab.json: token '%.64s' has no id", v->key);
        map_put(w->ids, v->key, strlen(v->key), (int32_t)id, -1);
        w->next = id >= w->next ? id + 1 : w->next;
    }
    return OK;
}

static enum status put_bpe(struct writing *w)
{
    buf_puts(w->out, "\"model\":{\"type\":\"BPE\",\"vocab\":");
    buf_append(w->out, w->files->vocab.p, w->files->vocab.n);
    TRY(put_merges(w));
    buf_puts(w->out, "}}");
    return OK;
}

/* ---- vocab.txt ------------------------------------------------------------------------------- */

static struct bytes trim_end(struct bytes s)
{
    while (s.n > 0 && memchr(" \t\r\v\f", s.p[s.n - 1], 5))
        s.n--;
    return s;
}

static enum status read_words(struct writing *w)
{
    struct bytes from = w->files->words, line;
    w->ids = map_new(from.n / 8 + 16);
    for (; next_line(&from, &line); w->next++) {
        line = trim_end(line);
        if (w->next == ADDED_MAX_ID)
            return fail(ERR_FORMAT, "vocab.txt: it has more than %d lines", ADDED_MAX_ID);
        map_put(w->ids, line.p, line.n, (int32_t)w->next, -1);
    }
    return OK;
}

static void put_pieces(struct writing *w)
{
    struct bytes from = w->files->words, line, unk = w->named[2];
    buf_puts(w->out, "\"model\":{\"type\":\"WordPiece\",\"unk_token\":");
    loose_put_text(w->out, unk.n ? unk : bytes_of(w->rules->named[2]));
    buf_puts(w->out, ",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
                     "\"vocab\":{");
    for (int64_t id = 0; next_line(&from, &line); id++) {
        line = trim_end(line);
        if (map_get(w->ids, line.p, line.n, -1) != id)
            continue; /* a later line says the same, which is then its id */
        loose_put_text(w->out, line);
        buf_printf(w->out, ":%lld,", (long long)id);
    }
    if (w->out->data[w->out->len - 1] == ',')
        w->out->len--;
    buf_puts(w->out, "}}}");
}

/* ---- all ------------------------------------------------------------------------------------- */

static enum status write_all(struct writing *w)
{
    if (w->files->tekken.n)
        return tekken_write(w->files->tekken, w->out);
    if (w->files->ranks.n)
        return ranks_write(w->files->ranks, &w->added, w->out);
    TRY(find_rules(w));
    TRY(w->files->words.n ? read_words(w) : read_vocab(w));
    put_added(w);
    put_parts(w);
    if (w->files->words.n)
        put_pieces(w);
    else
        TRY(put_bpe(w));
    return OK;
}

enum status loose_write(const struct loose_files *l, const struct tokenizer_files *f,
                        struct buf *out)
{
    struct writing w = {.files = l, .out = out};
    enum status s = added_open(&w.added, f);
    if (s == OK)
        s = write_all(&w);
    map_free(w.ids);
    added_close(&w.added);
    return s;
}
