/* test_config.c - the option table: where a value comes from, what is refused and how. */
#include "server/config.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/test.h"

static struct config c;

static enum status parse(unsigned command, int argc, const char **argv)
{
    config_clear(&c);
    return config_parse(&c, command, argc, (char **)argv);
}

#define PARSE(command, ...)                                                                        \
    parse(command, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                  \
          (const char *[]){__VA_ARGS__})

static void assert_said(const char *what)
{
    if (!strstr(fail_text(), what))
        fail_msg("\"%s\" does not say \"%s\"", fail_text(), what);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse(CMD_SERVE, 0, NULL), OK);
    assert_string_equal(c.host, "127.0.0.1");
    assert_int_equal(c.port, 8000);
    assert_int_equal(c.ctx, 0);
    assert_int_equal(c.max_seqs, 16);
    assert_int_equal(c.max_body, 64 << 20);
    assert_true(c.drain_timeout == 30);
    assert_true(c.prefix_cache);
    assert_false(c.strict_model);
    assert_string_equal(c.log_level, "info");
    assert_null(c.model);
    assert_int_equal(c.api_key.n, 0);
}

/* The user's cache is where the XDG specification has it, unless it is named. */
static void test_cache(void **state)
{
    (void)state;
    unsetenv("INFERD_GPU_CACHE"); /* the tests' own */
    setenv("HOME", "/srv/somebody", 1);
    setenv("XDG_CACHE_HOME", "/var/cache/somebody", 1);
    assert_int_equal(parse(CMD_SERVE, 0, NULL), OK);
    assert_string_equal(c.gpu_cache, "/var/cache/somebody/inferd");
    setenv("XDG_CACHE_HOME", "not/absolute", 1);
    assert_int_equal(parse(CMD_SERVE, 0, NULL), OK);
    assert_string_equal(c.gpu_cache, "/srv/somebody/.cache/inferd");
    assert_int_equal(PARSE(CMD_SERVE, "--gpu-cache", "here", "--strict"), OK);
    assert_string_equal(c.gpu_cache, "here");
    assert_true(c.strict);
    unsetenv("XDG_CACHE_HOME");
}

static void test_command_line(void **state)
{
    (void)state;
    assert_int_equal(PARSE(CMD_SERVE, "m.gguf", "--port=9", "--host", "::1", "--ctx", "32k",
                           "--kv-bytes", "2G", "--strict-model", "--no-prefix-cache",
                           "--drain-timeout", "0.5", "--log-format", "JSON", "--api-key", "a,b",
                           "--api-key", "c"),
                     OK);
    assert_string_equal(c.model, "m.gguf");
    assert_int_equal(c.port, 9);
    assert_string_equal(c.host, "::1");
    assert_int_equal(c.ctx, 32768);
    assert_int_equal(c.kv_bytes, INT64_C(2) << 30);
    assert_true(c.strict_model);
    assert_false(c.prefix_cache);
    assert_true(c.drain_timeout == 0.5);
    assert_string_equal(c.log_format, "json");
    assert_int_equal(c.api_key.n, 3);
    assert_string_equal(c.api_key.v[0], "a");
    assert_string_equal(c.api_key.v[1], "b");
    assert_string_equal(c.api_key.v[2], "c");
    assert_int_equal(PARSE(CMD_SERVE, "--strict-model=0", "--", "--odd.gguf"), OK);
    assert_string_equal(c.model, "--odd.gguf");
    assert_false(c.strict_model);
    assert_int_equal(PARSE(CMD_TOKENIZE, "f", "--bos", "-h"), OK);
    assert_true(c.bos && c.help && !c.special);
}

static void test_environment(void **state)
{
    (void)state;
    setenv("NIM_SERVER_PORT", "7001", 1);
    setenv("NIM_HTTP_API_PORT", "7002", 1);
    setenv("NIM_SERVED_MODEL_NAME", "one,two", 1);
    setenv("NIM_LOG_LEVEL", "CRITICAL", 1);
    setenv("NIM_JSONL_LOGGING", "1", 1);
    setenv("NIM_ENABLE_KV_CACHE_REUSE", "0", 1);
    setenv("INFERD_HOST", "", 1); /* empty: not set */
    assert_int_equal(PARSE(CMD_SERVE, "m"), OK);
    assert_int_equal(c.port, 7001);
    assert_int_equal(c.served_model_name.n, 2);
    assert_string_equal(c.served_model_name.v[1], "two");
    assert_string_equal(c.log_level, "error");
    assert_string_equal(c.log_format, "json");
    assert_false(c.prefix_cache);
    assert_string_equal(c.host, "127.0.0.1");
    setenv("INFERD_PORT", "7003", 1); /* ours before theirs, the command line before both */
    assert_int_equal(PARSE(CMD_SERVE, "m"), OK);
    assert_int_equal(c.port, 7003);
    assert_int_equal(PARSE(CMD_SERVE, "--port", "7004", "--served-model-name", "three"), OK);
    assert_int_equal(c.port, 7004);
    assert_int_equal(c.served_model_name.n, 1);
    assert_string_equal(c.served_model_name.v[0], "three");
    setenv("INFERD_PORT", "many", 1);
    assert_int_equal(PARSE(CMD_SERVE, "m"), ERR_INVALID);
    assert_said("INFERD_PORT: \"many\" is not a number");
    assert_int_equal(PARSE(CMD_INSPECT, "m"), OK); /* not an option of that command */
    unsetenv("INFERD_PORT"), unsetenv("INFERD_HOST"), unsetenv("NIM_SERVER_PORT");
    unsetenv("NIM_HTTP_API_PORT"), unsetenv("NIM_SERVED_MODEL_NAME"), unsetenv("NIM_LOG_LEVEL");
    unsetenv("NIM_JSONL_LOGGING"), unsetenv("NIM_ENABLE_KV_CACHE_REUSE");
}

static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(PARSE(CMD_SERVE, "--prot", "1"), ERR_INVALID);
    assert_said("unknown option --prot; did you mean --port?");
    assert_int_equal(PARSE(CMD_SERVE, "--max-seq=3"), ERR_INVALID);
    assert_said("did you mean --max-seqs?");
    assert_int_equal(PARSE(CMD_SERVE, "--xyzzy"), ERR_INVALID);
    assert_string_equal(fail_text(), "unknown option --xyzzy");
    assert_int_equal(PARSE(CMD_CHAT, "--max-body", "1"), ERR_INVALID);
    assert_said("--max-body is not an option of this command");
    assert_int_equal(PARSE(CMD_SERVE, "--port"), ERR_INVALID);
    assert_said("--port needs a value");
    assert_int_equal(PARSE(CMD_SERVE, "--port", "65536"), ERR_INVALID);
    assert_said("--port: 65536 is not between 0 and 65535");
    assert_int_equal(PARSE(CMD_SERVE, "--port", "80.5"), ERR_INVALID);
    assert_said("not a whole number");
    assert_int_equal(PARSE(CMD_SERVE, "--port", "8000x"), ERR_INVALID);
    assert_int_equal(PARSE(CMD_SERVE, "--port", ""), ERR_INVALID);
    assert_int_equal(PARSE(CMD_SERVE, "--keepalive", "nan"), ERR_INVALID);
    assert_int_equal(PARSE(CMD_SERVE, "--log-level", "loud"), ERR_INVALID);
    assert_said("\"loud\" is not one of debug|info|warn|error");
    assert_int_equal(PARSE(CMD_SERVE, "--no-port"), ERR_INVALID);
    assert_int_equal(PARSE(CMD_SERVE, "--no-strict-model=1"), ERR_INVALID);
    assert_int_equal(PARSE(CMD_SERVE, "--strict-model=maybe"), ERR_INVALID);
    assert_said("neither true nor false");
    assert_int_equal(PARSE(CMD_SERVE, "a", "b"), ERR_INVALID);
    assert_said("unexpected argument \"b\"");
    assert_int_equal(PARSE(CMD_VERSION, "a"), ERR_INVALID);
    assert_int_equal(PARSE(CMD_SERVE, "-p", "1"), ERR_INVALID);
    assert_said("unknown option -p");
}

/* Every row is shown by --help of its commands, and what help shows can be parsed. */
static void test_help(void **state)
{
    struct buf b = {0};
    (void)state;
    for (unsigned bit = CMD_SERVE; bit <= CMD_VERSION; bit <<= 1) {
        buf_reset(&b);
        config_help(bit, &b);
        for (char *at = b.data; at && (at = strstr(at, "\n  --")); at++) {
            char name[64];
            size_t n = strcspn(at + 3, " \n");
            snprintf(name, sizeof name, "%.*s", (int)n, at + 3);
            enum status s = PARSE(bit, name);
            if (s != OK && !strstr(fail_text(), "needs a value"))
                fail_msg("help shows %s, but: %s", name, fail_text());
        }
    }
    buf_reset(&b);
    config_help(CMD_SERVE, &b);
    assert_non_null(strstr(b.data, "INFERD_PORT NIM_SERVER_PORT NIM_HTTP_API_PORT"));
    assert_non_null(strstr(b.data, "--no-prefix-cache"));
    assert_null(strstr(b.data, "--temperature"));
    buf_clear(&b);
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"serve", "chat", "inspect", "plan"};
    (void)state;
    assert_string_equal(config_nearest("srve", names, 4), "serve");
    assert_string_equal(config_nearest("insepct", names, 4), "inspect");
    assert_null(config_nearest("dance", names, 4));
    assert_null(config_nearest("", names, 4));
}

static int clear(void **state)
{
    (void)state;
    config_clear(&c);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_cache),
        cmocka_unit_test(test_command_line), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_help),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, clear);
}
