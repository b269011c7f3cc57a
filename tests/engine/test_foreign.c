/* test_foreign.c - inspect on files that are no checkpoints: what it is and why it cannot be run.
 * The first bytes are those that the formats' own definitions give. */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/load/checkpoint.h"
#include "engine/load/foreign.h"
#include "kernels/base/mem.h"

#define FOLDER "build/foreign-test"

#define BYTES(s)                                                                                   \
    {                                                                                              \
        s, sizeof s - 1                                                                            \
    }

/* clang-format off */
static const struct { struct bytes file; const char *is, *why; } files[] = {
    {BYTES("PK\3\4\0\0\0\0archive/data.pkl"), "a zip archive, as torch.save writes", "convert to safetensors"},
    {BYTES("\x80\2}q\0."),                    "a Python pickle", "convert to safetensors"},
    {BYTES("\10\7\22\7pytorch\32\0052.0.0"),  "an ONNX model", "this format is not read"},
    {BYTES("lmgg\1\0\0\0"),                   "a GGML file, as they were before GGUF", "not read"},
    {BYTES("\x89HDF\r\n\x1a\n"),              "an HDF5 file", "not read"},
    {BYTES("\x1c\0\0\0TFL3"),                 "a TensorFlow Lite model", "not read"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "a pointer of Git LFS", "git lfs pull"},
    {BYTES("<!DOCTYPE html><html>"),          "a web page", "download again"},
    {BYTES("{\"peft_type\":\"LORA\",\"base_model_name_or_path\":\"a/b\",\"r\":8}"), "an adapter's configuration\ntype       \"LORA\"\nbase       \"a/b\"\nrank       8\n", "merge it"},
    {BYTES("{\"added_tokens\":[{\"id\":0}],\"pre_tokenizer\":{},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}"),
     "a tokenizer (tokenizer.json)\nmodel      \"BPE\"\nvocabulary 2 tokens, 1 added, 0 merges", "it has no weights"},
    {BYTES("{\"error\":\"Invalid username or password.\"}"), "an answer of a server\nerror      \"Invalid", "download again"},
    {BYTES("\x80\5\x95\13\0\0\0\0\0\0\0}"), "a Python pickle", "convert to safetensors"},
    {BYTES("_logits_\0\2\0\0"),              "logits as llama-perplexity saves", "--save-logits"},
    {BYTES("{\"tokenizer_class\":\"X\"}"),    "one of the small files", "name the directory"},
};
/* clang-format on */
enum { N_FILES = sizeof files / sizeof files[0] };

static void write_file(const char *path, struct bytes b)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    fclose(f);
}

static void says(const char *path, const char *is, const char *why)
{
    struct buf out = {0};

    assert_int_equal(engine_inspect(path, &out), OK);
    if (!strstr(out.data, is) || !strstr(out.data, why) || !strstr(out.data, "cannot run"))
        fail_msg("\"%s\" should say \"%s\" and \"%s\"", out.data, is, why);
    buf_clear(&out);
}

static void test_files(void **state)
{
    (void)state;
    mkdir(FOLDER, 0777);
    for (int i = 0; i < N_FILES; i++) {
        write_file(FOLDER "/file", files[i].file);
        says(FOLDER "/file", files[i].is, files[i].why);
    }
    static const char *const names[] = {FOLDER "/tokenizer.model", FOLDER "/merges.txt"};
    for (int i = 0; i < 2; i++) { /* nothing but its name says what it is */
        write_file(names[i], bytes_of("\n\x0e\n\x05<unk>"));
        says(names[i], "one of the small files", "name the directory");
        unlink(names[i]);
    }
}

/* The same reason from whoever tries to run it. */
static void test_open(void **state)
{
    struct checkpoint *c;

    (void)state;
    mkdir(FOLDER, 0777);
    write_file(FOLDER "/file", files[0].file);
    assert_int_equal(checkpoint_open(FOLDER "/file", &c), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "is a zip archive, as torch.save writes"));
}

static void test_folders(void **state)
{
    static const char *const folder = FOLDER "/adapter";
    struct checkpoint *c;
    struct buf out = {0};
    size_t n;
    char *weights;

    (void)state;
    mkdir(FOLDER, 0777);
    mkdir(folder, 0777);
    write_file(FOLDER "/adapter/adapter_config.json", files[8].file);
    says(folder, "an adapter's configuration", "merge it into its base model");
    says("tests/data/models", "a directory of GGUF files", "name one of them");
    assert_int_equal(checkpoint_open("tests/data/models", &c), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "tests/data/models is a directory of GGUF files"));
    assert_int_equal(file_read("tests/data/hf/gptq4/model.safetensors", 1 << 20, &weights, &n), OK);
    write_file(FOLDER "/alone.safetensors", (struct bytes){weights, n});
    xfree(weights);
    says(FOLDER "/alone.safetensors", "model.layers.0.mlp.down_proj.qweight",
         "there is no config.json beside it");
    says("tests/data/quantize/imatrix.dat", "an importance matrix\nholds      3 tensors",
         "inferd quantize --imatrix");
    says("tests/data/quantize/imatrix.gguf", "in_sum2", "general.type is \"imatrix\"");
    /* A pipe has no end, and without a writer no beginning. */
    unlink(FOLDER "/pipe");
    assert_int_equal(mkfifo(FOLDER "/pipe", 0600), 0);
    assert_int_equal(engine_inspect(FOLDER "/pipe", &out), ERR_IO);
    assert_non_null(strstr(fail_text(), "is not a regular file"));
    write_file(FOLDER "/file", (struct bytes){"neither fish nor flesh", 22});
    assert_int_equal(engine_inspect(FOLDER "/file", &out), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "not a checkpoint of a known format"));
    buf_clear(&out);
}

/* The only GGUF file of a directory is meant, whatever lies beside it. */
static void test_gguf_folder(void **state)
{
    struct checkpoint *c;
    size_t n;
    char *model;

    (void)state;
    mkdir(FOLDER, 0777);
    mkdir(FOLDER "/one", 0777);
    unlink(FOLDER "/one/b.gguf");
    assert_int_equal(file_read("tests/data/models/qwen3.gguf", 1 << 20, &model, &n), OK);
    write_file(FOLDER "/one/the-best-of-a.gguf", (struct bytes){model, n});
    write_file(FOLDER "/one/mmproj-a.gguf", (struct bytes)BYTES("GGUF"));
    write_file(FOLDER "/one/a-mmproj-f16.gguf", (struct bytes)BYTES("GGUF"));
    write_file(FOLDER "/one/a.imatrix.gguf", (struct bytes)BYTES("GGUF"));
    write_file(FOLDER "/one/x-00002-of-00002.gguf", (struct bytes)BYTES("GGUF"));
    write_file(FOLDER "/one/config.json", (struct bytes)BYTES("{\"model_type\":\"qwen3\"}"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(checkpoint_open(i ? FOLDER "/one" : FOLDER "/one/", &c), OK);
        assert_string_equal(c->path, FOLDER "/one/the-best-of-a.gguf");
        assert_non_null(checkpoint_tensor(c, "token_embd.weight"));
        checkpoint_close(c);
    }
    write_file(FOLDER "/one/b.gguf", (struct bytes){model, n});
    assert_int_equal(checkpoint_open(FOLDER "/one", &c), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "is a directory of GGUF files: name one of them"));
    xfree(model);
    assert_int_equal(checkpoint_open("Owner/Model-1B", &c), ERR_NOT_FOUND); /* a hub's name */
    assert_non_null(strstr(fail_text(), "there is no Owner/Model-1B here, and nothing is downl"));
    assert_int_equal(checkpoint_open("tests/none", &c), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "cannot open tests/none: No such file"));
}

/* A directory with a config.json: the reader's own reason, whatever else lies in it. */
static void test_broken_folder(void **state)
{
    static const struct {
        struct bytes config, weights;
        const char *says;
    } row[] = {
        {BYTES("{\"model_type\":"), BYTES("x"), "config.json: invalid JSON at byte"},
        {BYTES("{\"model_type\":\"llama\"}"), BYTES("x"), "ends inside its header"},
        {BYTES("{\"model_type\":\"llama\"}"),
         BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
         "model.safetensors: is a pointer of Git LFS: the file that it stands for was not "
         "downloaded"},
    };
    struct buf out = {0};

    (void)state;
    mkdir(FOLDER, 0777);
    mkdir(FOLDER "/broken", 0777);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        write_file(FOLDER "/broken/config.json", row[i].config);
        write_file(FOLDER "/broken/model.safetensors", row[i].weights);
        assert_int_not_equal(engine_inspect(FOLDER "/broken", &out), OK);
        if (!strstr(fail_text(), row[i].says))
            fail_msg("\"%s\" should say \"%s\"", fail_text(), row[i].says);
    }
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),       cmocka_unit_test(test_open),
        cmocka_unit_test(test_folders),     cmocka_unit_test(test_broken_folder),
        cmocka_unit_test(test_gguf_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
