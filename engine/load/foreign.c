/* foreign.c - see foreign.h. Only first bytes, names of files and of JSON members are looked at:
 * nothing here trusts a count, and nothing is read twice. */
#include "engine/load/foreign.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/load/imatrix.h"
#include "engine/load/scan.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"

enum { ADAPTER_MOST = 1 << 20 };
#define PICKLE "pickles can run code when they are read, and are not read: convert to safetensors"
#define OTHER  "this format is not read: take the model as safetensors or GGUF"
#define SMALL_FILE                                                                                 \
    "format     one of the small files of a Hugging Face directory\n"                              \
    "cannot run name the directory, its config.json or its safetensors\n"

/* clang-format off */
static const struct { const char *magic; size_t n, at; struct foreign kind; } magics[] = {
    {"PK\3\4",                  4, 0, {"a zip archive, as torch.save writes (.bin, .pt, .pth)", PICKLE}},
    {"\x80\2",                  2, 0, {"a Python pickle (.bin, .pt, .pth, .pkl)", PICKLE}},
    {"\x80\3",                  2, 0, {"a Python pickle (.bin, .pt, .pth, .pkl)", PICKLE}},
    {"\x80\5",                  2, 0, {"a Python pickle (.bin, .pt, .pth, .pkl)", PICKLE}},
    {"\x80\4",                  2, 0, {"a Python pickle (.bin, .pt, .pth, .pkl)", PICKLE}},
    {"lmgg",                    4, 0, {"a GGML file, as they were before GGUF", OTHER}},
    {"fmgg",                    4, 0, {"a GGMF file, as they were before GGUF", OTHER}},
    {"tjgg",                    4, 0, {"a GGJT file, as they were before GGUF", OTHER}},
    {"algg",                    4, 0, {"a LoRA adapter of the time before GGUF", OTHER}},
    {"\x89HDF",                 4, 0, {"an HDF5 file (Keras)", OTHER}},
    {"\x93NUMPY",               6, 0, {"a NumPy array", OTHER}},
    {"TFL3",                    4, 4, {"a TensorFlow Lite model", OTHER}},
    {"version https://git-lfs", 23, 0, {"a pointer of Git LFS", "the file that it stands for was not downloaded: git lfs pull"}},
    {"<!DOCTYPE",               9, 0, {"a web page", "it is what a server answered instead of the file: download again"}},
    {"<!doctype",               9, 0, {"a web page", "it is what a server answered instead of the file: download again"}},
    {"<html",                   5, 0, {"a web page", "it is what a server answered instead of the file: download again"}},
    {"\x1f\x8b",                2, 0, {"a gzip archive", "it must be unpacked first"}},
    {"(\xb5/\xfd",              4, 0, {"a zstd archive", "it must be unpacked first"}},
    {"\xfd" "7zXZ",             5, 0, {"an xz archive", "it must be unpacked first"}},
    {"7z\xbc\xaf",              4, 0, {"a 7-Zip archive", "it must be unpacked first"}},
    {"ustar",                   5, 257, {"a tar archive", "it must be unpacked first"}},
    {"RIFF",                    4, 0, {"a sound or video file", OTHER}},
    {"\x89PNG",                 4, 0, {"an image", OTHER}},
    {"_logits_",                8, 0, {"logits as llama-perplexity saves them", "inferd perplexity compares with those of --save-logits"}},
};
/* clang-format on */
enum { N_MAGICS = sizeof magics / sizeof magics[0] };

/* ONNX has no magic: ir_version, then the producer's name or the graph. */
static bool is_onnx(struct bytes file)
{
    return file.n > 4 && file.p[0] == 8 && file.p[1] > 0 && file.p[1] < 32 &&
           (file.p[2] == 0x12 || file.p[2] == 0x3a || file.p[2] == 0x42);
}

const struct foreign *foreign_file(struct bytes file)
{
    static const struct foreign onnx = {"an ONNX model", OTHER};

    for (int i = 0; i < N_MAGICS; i++) {
        size_t end = magics[i].at + magics[i].n;

        if (file.n >= end && memcmp(file.p + magics[i].at, magics[i].magic, magics[i].n) == 0)
            return &magics[i].kind;
    }
    return is_onnx(file) ? &onnx : NULL;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* The members of the object in `text`: the value of `key` unparsed; empty: there is none. */
static struct bytes member(struct bytes text, const char *key)
{
    struct scan s = {text.p, text.n, 0};
    struct bytes found = {NULL, 0}, name;
    bool more = scan_expect(&s, '{') == OK;

    for (int64_t n = 0; more && scan_next(&s, '}', n, &more) == OK && more; n++) {
        size_t start;

        if (scan_key(&s, &name) != OK)
            break;
        start = s.at;
        if (scan_skip(&s) != OK)
            break;
        if (bytes_equal(name, key))
            found = (struct bytes){text.p + start, s.at - start};
    }
    return found;
}

/* How many elements or members it has; 0 of other values. */
static int64_t count(struct bytes text)
{
    struct scan s = {text.p, text.n, 0};
    bool object = scan_take(&s, '{'), more = object || scan_take(&s, '[');
    char close = object ? '}' : ']';
    int64_t n = 0;

    for (; more && scan_next(&s, close, n, &more) == OK && more; n++) {
        struct bytes key;

        if ((object && scan_key(&s, &key) != OK) || scan_skip(&s) != OK)
            break;
    }
    return n;
}

static void put_member(struct buf *out, const char *label, struct bytes object, const char *key)
{
    struct bytes v = member(object, key);

    if (v.n && v.n < 300)
        buf_printf(out, "%-10s %.*s\n", label, (int)v.n, v.p);
}

static bool describe_json(struct bytes text, struct buf *out)
{
    struct bytes model = member(text, "model");

    if (model.n && member(text, "pre_tokenizer").n) {
        int64_t n = count(member(model, "vocab"));

        buf_puts(out, "format     a tokenizer (tokenizer.json)\n");
        put_member(out, "model", model, "type");
        buf_printf(out, "vocabulary %lld tokens, %lld added, %lld merges\n", (long long)n,
                   (long long)count(member(text, "added_tokens")),
                   (long long)count(member(model, "merges")));
        buf_puts(out, "cannot run it has no weights: its directory needs config.json and "
                      "safetensors\n");
        return true;
    }
    if (member(text, "peft_type").n) {
        buf_puts(out, "format     an adapter's configuration\n");
        put_member(out, "type", text, "peft_type");
        put_member(out, "base", text, "base_model_name_or_path");
        put_member(out, "rank", text, "r");
        buf_puts(out, "cannot run adapters are not loaded: merge it into its base model\n");
        return true;
    }
    if (member(text, "error").n && count(text) < 4) {
        buf_puts(out, "format     an answer of a server\n");
        put_member(out, "error", text, "error");
        buf_puts(out, "cannot run it came instead of the file: download again\n");
        return true;
    }
    if (!member(text, "add_bos_token").n && !member(text, "tokenizer_class").n &&
        !member(text, "do_sample").n && !member(text, "eos_token_id").n)
        return false;
    buf_puts(out, SMALL_FILE);
    return !member(text, "model_type").n;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool describe_imatrix(const char *path, struct bytes file, struct buf *out)
{
    struct imatrix *m;

    if (imatrix_read(path, file, &m) != OK)
        return false;
    buf_puts(out, "format     an importance matrix");
    buf_printf(out, "\nholds      %d tensors", imatrix_entries(m));
    if (imatrix_chunks(m))
        buf_printf(out, ", from %lld chunks of text", (long long)imatrix_chunks(m));
    buf_puts(out, "\ncannot run it is for inferd quantize --imatrix\n");
    imatrix_close(m);
    return true;
}

bool foreign_explain(const char *path, struct bytes file, struct buf *out)
{
    const struct foreign *k = foreign_file(file);
    struct scan s = {file.p, file.n, 0};

    if (k) {
        buf_printf(out, "format     %s\ncannot run %s\n", k->is, k->why);
        return true;
    }
    if (file.n && scan_take(&s, '{'))
        return describe_json(file, out);
    return describe_imatrix(path, file, out);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n >= e && strcmp(s + n - e, end) == 0;
}

const struct foreign *foreign_folder(const char *path)
{
    /* clang-format off */
    static const struct { const char *end; struct foreign kind; } marks[] = { /* the first that is met */
        {"adapter_config.json",  {"a LoRA adapter's directory", "adapters are not loaded: merge it into its base model"}},
        {"model_index.json",     {"a Diffusers pipeline", "only language models are run"}},
        {".gguf",                {"a directory of GGUF files", "name one of them; of a split one the first"}},
        {"params.json",          {"a model in its maker's own format (params.json)", "take the one with config.json and safetensors"}},
        {"tokenizer.json",       {"a directory with a tokenizer and no config.json", "the network is not said"}},
        {".safetensors",         {"a directory of safetensors without config.json", "the network is not said"}},
        {".nemo",                {"a NeMo archive", OTHER}},
        {".bin",                 {"a directory of pickled weights without config.json", PICKLE}},
        {".pth",                 {"a directory of pickled weights without config.json", PICKLE}},
    };
    /* clang-format on */
    enum { N = sizeof marks / sizeof marks[0] };
    DIR *dir = opendir(path);
    struct dirent *e;
    int found = N;

    while (dir && (e = readdir(dir))) {
        for (int i = 0; i < found; i++) {
            if (ends_with(e->d_name, marks[i].end))
                found = i;
        }
    }
    if (dir)
        closedir(dir);
    return found < N ? &marks[found].kind : NULL;
}

/* A directory: of an adapter, what its configuration says. One with a config.json is a checkpoint,
 * of which the reader knows better what is wrong. */
static bool describe_folder(const char *path, struct buf *out)
{
    const struct foreign *k = foreign_folder(path);
    struct buf name = {0};
    char *text = NULL;
    size_t n;
    bool good, checkpoint;

    buf_printf(&name, "%s/adapter_config.json", path);
    good = file_read(name.data, ADAPTER_MOST, &text, &n) == OK &&
           describe_json((struct bytes){text, n}, out);
    xfree(text);
    buf_reset(&name);
    buf_printf(&name, "%s/config.json", path);
    checkpoint = access(name.data, F_OK) == 0;
    buf_clear(&name);
    if (good || checkpoint)
        return good;
    if (k)
        buf_printf(out, "format     %s\ncannot run %s\n", k->is, k->why);
    return k;
}

/* Files that have nothing but their name to be known by. */
static bool describe_name(const char *path, struct buf *out)
{
    static const char *const names[] = {
        "tokenizer.model",   "vocab.json",          "vocab.txt",
        "merges.txt",        "tekken.json",         ".tiktoken",
        "added_tokens.json", "chat_template.jinja", "special_tokens_map.json",
        "chat_template.json"};
    const char *slash = strrchr(path, '/');

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (ends_with(slash ? slash + 1 : path, names[i]) && access(path, R_OK) == 0) {
            buf_printf(out, "file       %s\n" SMALL_FILE, path);
            return true;
        }
    }
    return false;
}

bool foreign_describe(const char *path, struct buf *out)
{
    struct file_map m;
    struct stat st;
    size_t begin = out->len;
    bool good;

    buf_printf(out, "file       %s\n", path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        good = describe_folder(path, out);
    } else if (file_map_open(path, &m) == OK) {
        good = foreign_explain(path, (struct bytes){(const char *)m.data, m.size}, out);
        file_map_close(&m);
    } else {
        good = false;
    }
    if (!good)
        out->len = begin;
    return good || describe_name(path, out);
}
