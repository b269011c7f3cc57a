/* config.c - the option table and the one reader of argv and the environment.
 *
 * A row is all there is to an option: adding one means a field in struct config and a row here;
 * parsing, ranges, --help, INFERD_* and "did you mean" follow. Every value, whatever it came from,
 * passes through option_set, so a bad environment variable is refused with its name just as a bad
 * flag is. */
#include "server/config.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum option_type {
    OPT_TEXT,   /* const char * */
    OPT_CHOICE, /* const char *, one of the words in `meta` */
    OPT_LIST,   /* struct names */
    OPT_INT,    /* int64_t */
    OPT_SIZE,   /* int64_t, with an optional k, M or G (powers of 1024) */
    OPT_NUMBER, /* double */
    OPT_FLAG,   /* bool; --x and --no-x */
};

struct option {
    const char *name;
    enum option_type type;
    size_t at;            /* offset in struct config */
    const char *fallback; /* parsed like any value; NULL: zero */
    double least, most;
    const char *meta; /* what stands for the value in --help; the words of a choice */
    unsigned commands;
    const char *nim; /* further environment variables, separated by spaces; NULL: none */
    const char *help;
};

#define AT(field) offsetof(struct config, field)
#define RUNS      (CMD_SERVE | CMD_CHAT | CMD_PLAN | CMD_BENCH)
#define ALL       ~0u
#define BIG       1e15

/* clang-format off */
static const struct option table[] = {
    {"model",             OPT_TEXT,   AT(model),             NULL,        0, 0,     "FILE",  ALL & ~(CMD_HEALTH | CMD_VERSION | CMD_GPUS), "NIM_MODEL_PATH", "GGUF file or Hugging Face directory; may stand without --model"},
    {"host",              OPT_TEXT,   AT(host),              "127.0.0.1", 0, 0,     "ADDR",  CMD_SERVE | CMD_HEALTH, NULL, "address to listen on; 0.0.0.0 or :: for all"},
    {"port",              OPT_INT,    AT(port),              "8000",      0, 65535, "N",     CMD_SERVE | CMD_HEALTH, "NIM_SERVER_PORT NIM_HTTP_API_PORT", "port to listen on; 0: any free one"},
    {"api-key",           OPT_LIST,   AT(api_key),           NULL,        0, 0,     "KEY",   CMD_SERVE, NULL, "accepted key; several with commas or by repeating"},
    {"api-key-file",      OPT_TEXT,   AT(api_key_file),      NULL,        0, 0,     "FILE",  CMD_SERVE, NULL, "file of accepted keys, one a line, # for comments"},
    {"served-model-name", OPT_LIST,   AT(served_model_name), NULL,        0, 0,     "NAME",  CMD_SERVE, "NIM_SERVED_MODEL_NAME", "id of the model, then further names for it"},
    {"strict-model",      OPT_FLAG,   AT(strict_model),      NULL,        0, 0,     NULL,    CMD_SERVE, NULL, "answer 404 when a request names another model"},
    {"generation-config", OPT_CHOICE, AT(generation_config), "auto",      0, 0,     "auto|none", CMD_SERVE | CMD_CHAT, NULL, "sampling where a request says nothing: as the model's files ask, or plain"},
    {"ctx",               OPT_SIZE,   AT(ctx),               NULL,        0, 1<<30, "N",     RUNS | CMD_PERPLEXITY | CMD_IMATRIX, "NIM_MAX_MODEL_LEN", "tokens a sequence may have [least of the model's, 32768 and what fits; perplexity: 512]"},
    {"max-seqs",          OPT_INT,    AT(max_seqs),          "16",        1, 4096,  "N",     RUNS, "NIM_MAX_NUM_SEQS NIM_MAX_BATCH_SIZE", "sequences computed at once"},
    {"max-queue",         OPT_INT,    AT(max_queue),         "512",       1, 1e6,   "N",     CMD_SERVE, "NIM_SERVER_MAX_QUEUE_SIZE", "requests that may wait; above: 429"},
    {"max-rows",          OPT_INT,    AT(max_rows),          NULL,        0, 65536, "N",     RUNS, NULL, "rows of one step [so many that a step takes about 50 ms]"},
    {"kv-type",           OPT_TEXT,   AT(kv_type),           NULL,        0, 0,     "TYPE",  RUNS | CMD_PERPLEXITY | CMD_IMATRIX, NULL, "number format of the KV cache: f32, bf16 or fp8 [the device's]"},
    {"kv-bytes",          OPT_SIZE,   AT(kv_bytes),          NULL,        0, BIG,   "SIZE",  RUNS, NULL, "memory for the KV cache, as 2G [from what is free]"},
    {"prefix-cache",      OPT_FLAG,   AT(prefix_cache),      "1",         0, 0,     NULL,    CMD_SERVE | CMD_CHAT | CMD_PLAN, "NIM_ENABLE_KV_CACHE_REUSE", "keep the KV pages of finished requests for reuse"},
    {"device",            OPT_TEXT,   AT(device),            "auto",      0, 0,     "NAME",  RUNS | CMD_TUNE, NULL, "where to compute: auto, cuda, cuda:N (the N-th GPU) or cpu"},
    {"gpu-layers",        OPT_TEXT,   AT(gpu_layers),        NULL,        0, 0,     "N",     RUNS, NULL, "layers on the GPU, the last ones; the first on the CPU; auto: as many as fit [all]"},
    {"threads",           OPT_INT,    AT(threads),           NULL,        0, 1024,  "N",     RUNS | CMD_QUANTIZE | CMD_PERPLEXITY | CMD_IMATRIX, NULL, "threads that compute [the processors we may use]"},
    {"isa",               OPT_TEXT,   AT(isa),               NULL,        0, 0,     "NAME",  RUNS | CMD_PERPLEXITY | CMD_IMATRIX, NULL, "force an instruction set, for tests: scalar, avx2, avx512"},
    {"cublaslt",          OPT_TEXT,   AT(cublaslt),          NULL,        0, 0,     "PATH",  RUNS | CMD_TUNE, NULL, "libcublasLt.so.13 or its folder, or none [beside the program, as installed]"},
    {"gpu-config",        OPT_TEXT,   AT(gpu_config),        NULL,        0, 0,     "FILE",  RUNS | CMD_GPUS | CMD_TUNE, NULL, "GPU: choices of kernels, before all others (docs/gpus.md)"},
    {"gpu-cache",         OPT_TEXT,   AT(gpu_cache),         NULL,        0, 0,     "DIR",   RUNS | CMD_GPUS | CMD_TUNE, NULL, "GPU: where tuned configurations lie [$XDG_CACHE_HOME/inferd]"},
    {"strict",            OPT_FLAG,   AT(strict),            NULL,        0, 0,     NULL,    RUNS | CMD_TUNE, NULL, "GPU: stop rather than take a configuration or kernel of less"},
    {"deterministic",     OPT_FLAG,   AT(deterministic),     NULL,        0, 0,     NULL,    RUNS, NULL, "GPU: an answer's bits do not depend on what else is computed; slower"},
    {"activations",       OPT_CHOICE, AT(activations),       "auto",      0, 0,     "auto|exact|fp8|fp4", RUNS | CMD_PERPLEXITY | CMD_TUNE, NULL, "what long prompts may be rounded to in products of fp8 or fp4 weights on GPUs: auto, as the checkpoint declares"},
    {"random",            OPT_TEXT,   AT(random),            NULL,        0, 0,     "SHAPE", CMD_SERVE | CMD_PLAN | CMD_BENCH | CMD_TUNE, NULL, "no file: random weights of a known shape, as qwen2.5-0.5b"},
    {"format",            OPT_TEXT,   AT(format),            "q8_0",      0, 0,     "TYPE",  CMD_SERVE | CMD_PLAN | CMD_BENCH | CMD_TUNE, NULL, "number format of --random"},
    {"seed",              OPT_INT,    AT(seed),              NULL,        0, BIG,   "N",     CMD_SERVE | CMD_CHAT | CMD_BENCH | CMD_TUNE, NULL, "seed of the random weights; of chat: of the answers"},
    {"http-threads",      OPT_INT,    AT(http_threads),      "4",         1, 256,   "N",     CMD_SERVE, "NIM_HTTP_MAX_WORKERS", "threads for HTTP, JSON, templates and tokenizing"},
    {"max-connections",   OPT_INT,    AT(max_connections),   "4096",      1, 1e6,   "N",     CMD_SERVE, NULL, "client connections open at once"},
    {"max-body",          OPT_SIZE,   AT(max_body),          "64M",       1, 1e12,  "SIZE",  CMD_SERVE, "NIM_SERVER_HTTP_BODY_LIMIT_BYTES", "largest request body"},
    {"keepalive",         OPT_NUMBER, AT(keepalive),         "10",      0.1, 3600,  "SEC",   CMD_SERVE, NULL, "seconds between comments on a silent stream"},
    {"drain-timeout",     OPT_NUMBER, AT(drain_timeout),     "30",        0, 86400, "SEC",   CMD_SERVE, NULL, "after SIGTERM: time for running requests to end"},
    {"log-format",        OPT_CHOICE, AT(log_format),        "text",      0, 0,     "text|json", CMD_SERVE, "LOG_FORMAT NIM_JSONL_LOGGING", "how log lines look"},
    {"log-level",         OPT_CHOICE, AT(log_level),         "info",      0, 0,     "debug|info|warn|error", CMD_SERVE, "NIM_LOG_LEVEL", "least level that is logged"},
    {"system",            OPT_TEXT,   AT(system),            NULL,        0, 0,     "TEXT",  CMD_CHAT, NULL, "system message"},
    {"temperature",       OPT_NUMBER, AT(temperature),       "-1",        -1, 100,  "X",     CMD_CHAT, NULL, "0: always the likeliest token; -1: as the model asks, or 0.7 where it asks for nothing"},
    {"top-p",             OPT_NUMBER, AT(top_p),             "-1",        -1, 1,    "X",     CMD_CHAT, NULL, "sample from the likeliest tokens of this mass; -1: as the model asks, or 0.95 where it asks for nothing"},
    {"top-k",             OPT_INT,    AT(top_k),             "-1",        -1, 1e6,  "N",     CMD_CHAT, NULL, "sample from so many tokens; 0: all; -1: as the model asks"},
    {"max-tokens",        OPT_INT,    AT(max_tokens),        "0",         0, 1<<30, "N",     CMD_CHAT, NULL, "longest answer; 0: what the context holds"},
    {"bos",               OPT_FLAG,   AT(bos),               NULL,        0, 0,     NULL,    CMD_TOKENIZE, NULL, "put the BOS token first where the model wants one"},
    {"special",           OPT_FLAG,   AT(special),           NULL,        0, 0,     NULL,    CMD_TOKENIZE, NULL, "spellings of control tokens become these tokens"},
    {"prompt",            OPT_INT,    AT(prompt),            "512",       1, 1e6,   "N",     CMD_BENCH, NULL, "tokens of the prefill row"},
    {"generate",          OPT_INT,    AT(generate),          "128",       2, 1e6,   "N",     CMD_BENCH, NULL, "tokens of the decode rows"},
    {"streams",           OPT_TEXT,   AT(streams),           "4,16",      0, 0,     "N,N",   CMD_BENCH, NULL, "numbers of streams at once"},
    {"rounds",            OPT_INT,    AT(rounds),            "3",         1, 1000,  "N",     CMD_BENCH, NULL, "times each row is measured; the median counts"},
    {"output",            OPT_TEXT,   AT(output),            NULL,        0, 0,     "FILE",  CMD_QUANTIZE | CMD_TUNE | CMD_IMATRIX, NULL, "file to write; of quantize and imatrix it may stand without --output"},
    {"type",              OPT_TEXT,   AT(type),              NULL,        0, 0,     "TYPE",  CMD_QUANTIZE, NULL, "number format or mix of the output, as q8_0 or q4_k_m"},
    {"imatrix",           OPT_TEXT,   AT(imatrix),           NULL,        0, 0,     "FILE",  CMD_QUANTIZE, NULL, "importance of the weights' columns, from inferd imatrix or llama.cpp"},
    {"allow-requantize",  OPT_FLAG,   AT(allow_requantize),  NULL,        0, 0,     NULL,    CMD_QUANTIZE, NULL, "quantise what is quantised already; its errors add up"},
    {"pure",              OPT_FLAG,   AT(pure),              NULL,        0, 0,     NULL,    CMD_QUANTIZE, NULL, "one format for all matrices, without the mix's rules"},
    {"text",              OPT_TEXT,   AT(text),              NULL,        0, 0,     "FILE",  CMD_PERPLEXITY | CMD_IMATRIX, NULL, "text to score; may stand without --text"},
    {"chunks",            OPT_INT,    AT(chunks),            NULL,        0, 1e9,   "N",     CMD_PERPLEXITY | CMD_IMATRIX, NULL, "windows to score; 0: all"},
    {"save-logits",       OPT_TEXT,   AT(save_logits),       NULL,        0, 0,     "FILE",  CMD_PERPLEXITY, NULL, "write the logits of all scored tokens, for --reference"},
    {"reference",         OPT_TEXT,   AT(reference),         NULL,        0, 0,     "FILE",  CMD_PERPLEXITY, NULL, "logits of another run over the same text, to compare with"},
    {"json",              OPT_FLAG,   AT(json),              NULL,        0, 0,     NULL,    CMD_PERPLEXITY | CMD_BENCH | CMD_VERSION | CMD_GPUS, NULL, "print JSON"},
    {"quick",             OPT_FLAG,   AT(quick),             NULL,        0, 0,     NULL,    CMD_TUNE, NULL, "the largest matrices only, in 20 seconds"},
    {"budget",            OPT_NUMBER, AT(budget),            "0",         0, 86400, "SEC",   CMD_TUNE, NULL, "seconds it may take; 0: 480, or 20 with --quick"},
    {"verify",            OPT_FLAG,   AT(verify),            NULL,        0, 0,     NULL,    CMD_TUNE, NULL, "measure what a configuration claims, write nothing"},
    {"resume",            OPT_FLAG,   AT(resume),            NULL,        0, 0,     NULL,    CMD_TUNE, NULL, "go on where the last run stopped"},
    {"live",              OPT_FLAG,   AT(live),              NULL,        0, 0,     NULL,    CMD_HEALTH, NULL, "ask whether it is alive, not whether it is ready"},
};

/* Spellings that only environment variables of other programs use. */
static const struct { const char *option, *from, *to; } spelling[] = {
    {"log-format", "0", "text"},        {"log-format", "false", "text"},   {"log-format", "pretty", "text"},
    {"log-format", "compact", "text"},  {"log-format", "1", "json"},       {"log-format", "true", "json"},
    {"log-level",  "default", "info"},  {"log-level",  "trace", "debug"},  {"log-level",  "warning", "warn"},
    {"log-level",  "critical", "error"},
};
/* clang-format on */

enum { N_OPTIONS = sizeof table / sizeof *table };

/* The first argument that is no option is the model; what follows it, where there is more: */
static const struct {
    unsigned command;
    const char *option[2];
} further[] = {
    {CMD_QUANTIZE, {"output"}}, {CMD_PERPLEXITY, {"text"}}, {CMD_IMATRIX, {"text", "output"}}};

/* ---- one value ------------------------------------------------------------------------------- */

static enum status parse_number(const struct option *o, const char *source, const char *text,
                                double *out)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end != text && o->type == OPT_SIZE && *end) {
        static const char unit[] = "kmgt";
        const char *u = strchr(unit, *end | 0x20);
        if (u) {
            v *= (double)(INT64_C(1) << (10 * (u - unit + 1)));
            end++;
        }
    }
    if (end == text || *end || errno || !isfinite(v))
        return fail_field(ERR_INVALID, o->name, "%s: \"%s\" is not a %s", source, text,
                          o->type == OPT_SIZE ? "size, such as 4096, 64k or 2G" : "number");
    if (o->type != OPT_NUMBER && v != floor(v))
        return fail_field(ERR_INVALID, o->name, "%s: \"%s\" is not a whole number", source, text);
    if (v < o->least || v > o->most)
        return fail_field(ERR_INVALID, o->name, "%s: %s is not between %.10g and %.10g", source,
                          text, o->least, o->most);
    *out = v;
    return OK;
}

static enum status parse_flag(const struct option *o, const char *source, const char *text,
                              bool *out)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (int i = 0; i < 4; i++) {
        if (!strcasecmp(text, yes[i]) || !strcasecmp(text, no[i])) {
            *out = !strcasecmp(text, yes[i]);
            return OK;
        }
    }
    return fail_field(ERR_INVALID, o->name, "%s: \"%s\" is neither true nor false", source, text);
}

/* The word of "a|b|c" that `text` spells in any case, or NULL. */
static const char *choice(struct arena *a, const char *words, const char *text)
{
    size_t n = strlen(text);
    for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|')
        if (strcspn(w, "|") == n && !strncasecmp(w, text, n))
            return arena_strndup(a, w, n);
    return NULL;
}

static void list_add(struct arena *a, struct names *list, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        if (n > 0) {
            const char **v = arena_alloc(a, (size_t)(list->n + 1) * sizeof *v);
            for (int i = 0; i < list->n; i++)
                v[i] = list->v[i];
            v[list->n++] = arena_strndup(a, text, n);
            list->v = v;
        }
        text += n + (text[n] == ',');
    }
}

/* `source` is what the user wrote it in, "--port" or "INFERD_PORT": messages begin with it. */
static enum status option_set(struct config *c, const struct option *o, const char *source,
                              const char *text)
{
    void *at = (char *)c + o->at;
    double number = 0;
    switch (o->type) {
    case OPT_TEXT:
        *(const char **)at = text;
        return OK;
    case OPT_CHOICE:
        if (!(*(const char **)at = choice(&c->arena, o->meta, text)))
            return fail_field(ERR_INVALID, o->name, "%s: \"%s\" is not one of %s", source, text,
                              o->meta);
        return OK;
    case OPT_LIST:
        list_add(&c->arena, at, text);
        return OK;
    case OPT_FLAG:
        return parse_flag(o, source, text, at);
    case OPT_INT:
    case OPT_SIZE:
        TRY(parse_number(o, source, text, &number));
        *(int64_t *)at = (int64_t)number;
        return OK;
    case OPT_NUMBER:
        return parse_number(o, source, text, at);
    }
    return OK;
}

/* ---- environment ----------------------------------------------------------------------------- */

/* "log-level" -> "INFERD_LOG_LEVEL" */
static const char *env_name(struct arena *a, const char *option)
{
    char *s = arena_printf(a, "INFERD_%s", option);
    for (char *p = s; *p; p++) {
        if (*p == '-')
            *p = '_';
        else if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
    return s;
}

static const char *respell(const struct option *o, const char *text)
{
    for (size_t i = 0; i < sizeof spelling / sizeof *spelling; i++)
        if (!strcmp(spelling[i].option, o->name) && !strcasecmp(spelling[i].from, text))
            return spelling[i].to;
    return text;
}

/* The first of INFERD_<NAME> and the NIM names that is set and not empty. */
static enum status option_from_env(struct config *c, const struct option *o)
{
    const char *name = env_name(&c->arena, o->name);
    const char *text = getenv(name);
    for (const char *p = o->nim; p && *p && !(text && *text);) {
        size_t n = strcspn(p, " ");
        name = arena_strndup(&c->arena, p, n);
        text = getenv(name);
        p += n + (p[n] == ' ');
    }
    if (!text || !*text)
        return OK;
    return option_set(c, o, name, respell(o, text));
}

/* ---- command line ---------------------------------------------------------------------------- */

static const struct option *option_find(const char *name, size_t n)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if (strlen(table[i].name) == n && !strncmp(table[i].name, name, n))
            return &table[i];
    return NULL;
}

/* Edit distance, bounded: words longer than the row count as far away. */
static int distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    int row[MOST + 1], na = (int)strlen(a), nb = (int)strlen(b);
    if (na > MOST || nb > MOST)
        return MOST;
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[nb];
}

const char *config_nearest(const char *word, const char *const *names, int n)
{
    const char *best = NULL;
    int least = 1 + (int)strlen(word) / 3; /* a third of it wrong: still the same word */
    if (least > 3)
        least = 3;
    for (int i = 0; i < n; i++) {
        int d = distance(word, names[i]);
        if (d <= least && (!best || d < least)) {
            best = names[i];
            least = d;
        }
    }
    return best;
}

static enum status unknown(struct config *c, unsigned command, const char *word, size_t n)
{
    const char *names[N_OPTIONS], *near;
    const char *shown = arena_strndup(&c->arena, word, n);
    int n_names = 0;
    if (option_find(word, n))
        return fail_field(ERR_INVALID, shown, "--%s is not an option of this command", shown);
    for (int i = 0; i < N_OPTIONS; i++)
        if (table[i].commands & command)
            names[n_names++] = table[i].name;
    near = config_nearest(shown, names, n_names);
    if (near)
        return fail_field(ERR_INVALID, shown, "unknown option --%s; did you mean --%s?", shown,
                          near);
    return fail_field(ERR_INVALID, shown, "unknown option --%s", shown);
}

/* argv[*i] begins with "--". Takes its value from behind "=" or from the next word. */
static enum status option_from_argv(struct config *c, unsigned command, int argc, char **argv,
                                    int *i)
{
    const char *word = argv[*i] + 2, *value = strchr(word, '='), *source;
    size_t n = value ? (size_t)(value - word) : strlen(word);
    const struct option *o = option_find(word, n);
    bool off = !o && n > 3 && !strncmp(word, "no-", 3);
    if (off)
        o = option_find(word + 3, n - 3);
    if (off && o && o->type != OPT_FLAG)
        o = NULL;
    if (!o || !(o->commands & command) || (off && value))
        return unknown(c, command, word, n);
    source = arena_printf(&c->arena, "--%s", o->name);
    if (o->type == OPT_FLAG && !value)
        return option_set(c, o, source, off ? "0" : "1");
    if (!value && ++*i >= argc)
        return fail_field(ERR_INVALID, o->name, "%s needs a value: %s", source, o->meta);
    return option_set(c, o, source, value ? value + 1 : argv[*i]);
}

/* As the XDG base directory specification says; NULL: there is none. */
static const char *user_cache(struct config *c)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (base && base[0] == '/')
        return arena_printf(&c->arena, "%s/inferd", base);
    return home && home[0] == '/' ? arena_printf(&c->arena, "%s/.cache/inferd", home) : NULL;
}

/* An argument without an option before it; `n` were there already. */
static enum status take_argument(struct config *c, unsigned command, const char *word, int n)
{
    const struct option *o = n == 0 ? option_find("model", 5) : NULL;
    for (size_t i = 0; i < sizeof further / sizeof *further; i++)
        if (further[i].command == command && (n == 1 || n == 2) && further[i].option[n - 1])
            o = option_find(further[i].option[n - 1], strlen(further[i].option[n - 1]));
    if (!o || !(o->commands & command))
        return fail(ERR_INVALID, "unexpected argument \"%s\"", word);
    return option_set(c, o, o->name, word);
}

enum status config_parse(struct config *c, unsigned command, int argc, char **argv)
{
    int n_arguments = 0;
    *c = (struct config){0};
    arena_init(&c->arena, 0);
    for (int i = 0; i < N_OPTIONS; i++)
        if (table[i].fallback)
            TRY(option_set(c, &table[i], table[i].name, table[i].fallback));
    for (int i = 0; i < N_OPTIONS; i++)
        if (table[i].commands & command)
            TRY(option_from_env(c, &table[i]));
    struct names from_env[2] = {c->api_key, c->served_model_name};
    c->api_key = c->served_model_name = (struct names){0}; /* flags replace, never extend */
    for (int i = 0, only_files = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_files && !strcmp(word, "--")) {
            only_files = 1;
        } else if (!only_files && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
            c->help = true;
        } else if (!only_files && !strncmp(word, "--", 2)) {
            TRY(option_from_argv(c, command, argc, argv, &i));
        } else if (!only_files && word[0] == '-' && word[1]) {
            return fail(ERR_INVALID, "unknown option %s; options begin with --", word);
        } else {
            TRY(take_argument(c, command, word, n_arguments++));
        }
    }
    if (!c->gpu_cache)
        c->gpu_cache = user_cache(c);
    if (!c->api_key.n)
        c->api_key = from_env[0];
    if (!c->served_model_name.n)
        c->served_model_name = from_env[1];
    return OK;
}

void config_clear(struct config *c)
{
    arena_clear(&c->arena);
}

void config_help(unsigned command, struct buf *out)
{
    struct arena a;
    arena_init(&a, 0);
    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option *o = &table[i];
        if (!(o->commands & command))
            continue;
        const char *name = o->type == OPT_FLAG && o->fallback
                               ? arena_printf(&a, "--no-%s", o->name)
                               : arena_printf(&a, "--%s %s", o->name, o->meta ? o->meta : "");
        buf_printf(out, "  %-26s %s%s", name, o->type == OPT_FLAG && o->fallback ? "do not " : "",
                   o->help);
        if (o->fallback && o->type != OPT_FLAG)
            buf_printf(out, " [%s]", o->fallback);
        buf_printf(out, "\n  %-26s   %s%s%s\n", "", env_name(&a, o->name), o->nim ? " " : "",
                   o->nim ? o->nim : "");
    }
    arena_clear(&a);
}
