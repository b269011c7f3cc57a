/* test_api.c - the life of a call: keys, ids, paths, limits, states of the engine, access line. */
#include "api/api.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "tests/api/fake/floor.h"
#include "tests/support/test.h"

static struct api *api;
static struct client client;

static int tear_down(void **state)
{
    (void)state;
    floor_close(api);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    api = floor_open(NULL);
    return 0;
}

static int set_up_guarded(void **state)
{
    static const char *const keys[] = {"secret", "other-key"};
    static const struct api_options o = {.key = keys, .n_keys = 2};

    (void)state;
    api = floor_open(&o);
    return 0;
}

static int set_up_strict(void **state)
{
    static const char *const alias[] = {"nick"};
    static const struct api_options o = {
        .strict_model = true, .alias = alias, .n_aliases = 1, .max_body = 200};

    (void)state;
    api = floor_open(&o);
    return 0;
}

#define CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

/* Sends one request and returns its status; `client` keeps the reply until the next. */
static int ask(const char *method, const char *path, const char *head, const char *body)
{
    client_begin(&client, api, method, path, head, bytes_of(body));
    assert_true(client_pump(&client));
    return client.call.status;
}

static void expect(int status, const char *method, const char *path, const char *head)
{
    int got = ask(method, path, head, CHAT);

    if (got != status)
        print_error("%s %s with %s: %d %s\n", method, path, head, got, client.answer.data);
    assert_int_equal(got, status);
    client_end(&client);
}

static void keys(void **state)
{
    (void)state;
    expect(401, "GET", "/v1/models", NULL);
    expect(401, "GET", "/v1/models", "Authorization: Bearer wrong");
    expect(401, "GET", "/v1/models", "Authorization: Bearer ");
    expect(401, "GET", "/v1/models", "Authorization: Bearer secretx");
    expect(401, "GET", "/v1/models", "Authorization: Bearer secre");
    expect(401, "GET", "/v1/models", "Authorization: secret");
    expect(401, "GET", "/v1/models", "Authorization: Basic secret");
    expect(401, "GET", "/v1/models", "x-api-key:");
    expect(200, "GET", "/v1/models", "Authorization: Bearer secret");
    expect(200, "GET", "/v1/models", "authorization: bearer  other-key");
    expect(200, "GET", "/v1/models", "X-API-Key: other-key");
    expect(200, "GET", "/v1/models", "Authorization: Bearer wrong\nX-Api-Key: secret");
    expect(401, "GET", "/v1/metrics", NULL);
    expect(401, "POST", "/v1/chat/completions", NULL);
    expect(401, "GET", "/nowhere", NULL); /* what exists is nobody's business either */
    expect(200, "GET", "/v1/health/live", NULL);
    expect(200, "GET", "/v1/health/ready", NULL);
    expect(200, "GET", "/health", NULL);
    assert_int_equal(ask("GET", "/v1/models", NULL, NULL), 401);
    assert_string_equal(client_header(&client, "WWW-Authenticate"), "Bearer");
    assert_non_null(strstr(client.answer.data, "\"code\":\"invalid_api_key\""));
    assert_null(strstr(floor_log(), "secret"));
    client_end(&client);
}

static void paths(void **state)
{
    (void)state;
    expect(404, "GET", "/", NULL);
    expect(404, "GET", "/v1", NULL);
    expect(404, "POST", "/v1/embeddings", NULL);
    expect(404, "GET", "/v1/modelsx", NULL);
    expect(200, "GET", "/v1/models/", NULL);
    expect(200, "HEAD", "/v1/models", NULL);
    expect(200, "POST", "/v1/chat/completions/", NULL);
    assert_int_equal(ask("GET", "/v1/chat/completions", NULL, NULL), 405);
    assert_string_equal(client_header(&client, "Allow"), "POST");
    client_end(&client);
    assert_int_equal(ask("DELETE", "/v1/models/x", NULL, NULL), 405);
    assert_string_equal(client_header(&client, "allow"), "GET, HEAD");
    assert_non_null(strstr(client.answer.data, "\"code\":\"method_not_allowed\""));
    client_end(&client);
}

/* "{id}" takes the slashes of an id; names are not served under ids they do not have. */
static void model_ids(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/v1/models/fake/model-1", NULL, NULL), 200);
    assert_string_equal(client.answer.data,
                        "{\"id\":\"fake/model-1\",\"object\":\"model\",\"created\":1700000000,"
                        "\"owned_by\":\"inferd\",\"root\":\"fake/model-1\",\"parent\":null,"
                        "\"max_model_len\":4096,\"context_length\":4096,\"meta\":{"
                        "\"n_params\":1000,\"size\":4000,\"n_vocab\":261,\"n_ctx_train\":8192,"
                        "\"arch\":\"fake\",\"format\":\"f32\"},\"default_sampling_params\":{"
                        "\"temperature\":1,\"top_p\":1,\"min_p\":0,"
                        "\"repetition_penalty\":1,\"top_k\":0}}");
    client_end(&client);
    assert_int_equal(ask("GET", "/v1/models/fake/model-2", NULL, NULL), 404);
    assert_non_null(strstr(client.answer.data, "\"param\":\"model\",\"code\":\"model_not_found\""));
    client_end(&client);
}

static void strict(void **state)
{
    (void)state;
    assert_int_equal(ask("POST", "/v1/completions", NULL, "{\"model\":\"x\",\"prompt\":\"a\"}"),
                     404);
    assert_string_equal(client.answer.data,
                        "{\"error\":{\"message\":\"the model `x` does not exist here; the one "
                        "being served is `fake/model-1`\",\"type\":\"invalid_request_error\","
                        "\"param\":\"model\",\"code\":\"model_not_found\"}}");
    client_end(&client);
    assert_int_equal(ask("POST", "/v1/completions", NULL, "{\"model\":\"nick\",\"prompt\":\"a\"}"),
                     200);
    assert_non_null(strstr(client.answer.data, "\"model\":\"fake/model-1\""));
    client_end(&client);
    assert_int_equal(
        ask("POST", "/v1/completions", NULL, "{\"model\":\"fake/model-1\",\"prompt\":\"a\"}"), 200);
    client_end(&client);
    assert_int_equal(ask("GET", "/v1/models", NULL, NULL), 200);
    assert_non_null(strstr(client.answer.data, "\"id\":\"nick\",\"object\":\"model\","
                                               "\"created\":1700000000,\"owned_by\":\"inferd\","
                                               "\"root\":\"fake/model-1\""));
    client_end(&client);
}

/* 200 bytes are allowed: refused by the announcement, by the body, and while it streams in. */
static void too_large(void **state)
{
    struct call c = {.method = "POST", .path = "/v1/completions", .query = ""};
    char body[256];

    (void)state;
    assert_int_equal(api_max_body(api), 200);
    assert_int_equal(api_head(api, &c, 201), ERR_TOO_LARGE);
    assert_int_equal(c.phase, PHASE_REPLY);
    assert_int_equal(c.status, 413);
    api_end(api, &c);
    snprintf(body, sizeof body, "{\"prompt\":\"%0200d\"}", 1);
    assert_int_equal(ask("POST", "/v1/completions", NULL, body), 413);
    client_end(&client);
    c = (struct call){.method = "POST", .path = "/v1/completions", .query = ""};
    assert_int_equal(api_head(api, &c, -1), OK);
    api_refuse(api, &c, ERR_TOO_LARGE);
    assert_int_equal(c.status, 413);
    assert_non_null(strstr(c.out.data, "larger than the 200 bytes allowed"));
    api_end(api, &c);
    c = (struct call){0}; /* what never became a request */
    api_refuse(api, &c, ERR_INVALID);
    assert_int_equal(c.status, 400);
    api_end(api, &c);
}

/* The id: taken from the client without what could break a header or a log line. */
static void ids(void **state)
{
    const struct {
        const char *given, *got;
    } row[] = {{"abc-1_2.3:4", "abc-1_2.3:4"}, {"a b\r\nc\"<", "abc"}, {"\xc3\xa9x", "x"}};
    char longest[300];

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct call c = {.method = "GET", .path = "/health", .query = "", .id = row[i].given};

        assert_int_equal(api_head(api, &c, -1), OK);
        assert_string_equal(c.reply[0].name, "x-request-id");
        assert_string_equal(c.reply[0].value, row[i].got);
        api_begin(api, &c);
        api_end(api, &c);
    }
    memset(longest, 'a', sizeof longest);
    longest[299] = '\0';
    for (int i = 0; i < 2; i++) {
        struct call c = {
            .method = "GET", .path = "/health", .query = "", .id = i ? longest : "\"\""};

        assert_int_equal(api_head(api, &c, -1), OK);
        assert_int_equal(strlen(c.id), i ? 128 : 32); /* cut; or made here */
        api_end(api, &c);
    }
}

static void access_line(void **state)
{
    const char *line;
    char want[128];

    (void)state;
    assert_int_equal(ask("POST", "/v1/chat/completions", NULL,
                         "{\"messages\":[{\"role\":\"user\",\"content\":\"a secret\"}]}"),
                     200);
    client_end(&client);
    line = strstr(floor_log(), "t1 127.0.0.1 POST /v1/chat/completions 200 ");
    assert_non_null(line);
    assert_non_null(strstr(line, " ms tokens 81+2 cached 3\n"));
    assert_null(strstr(floor_log(), "secret"));
    assert_int_equal(ask("GET", "/nowhere", NULL, NULL), 404);
    snprintf(want, sizeof want, "t1 127.0.0.1 GET /nowhere 404 %zu bytes ", client.answer.len);
    client_end(&client);
    assert_non_null(strstr(floor_log(), want));
    /* probes are lines of DEBUG, also those that say no */
    assert_null(strstr(floor_log(), "/health"));
    assert_int_equal(ask("GET", "/v1/health/live", NULL, NULL), 200);
    client_end(&client);
    fake_state(ENGINE_LOADING, "packing weights", 0.25);
    assert_int_equal(ask("GET", "/v1/health/ready", NULL, NULL), 503);
    client_end(&client);
    assert_int_equal(ask("POST", "/v1/health/live", NULL, "{}"), 405);
    client_end(&client);
    assert_null(strstr(floor_log(), "GET /v1/health"));
    assert_non_null(strstr(floor_log(), "POST /v1/health/live 405 "));
}

/* A client that leaves: its job is put (so cancelled), the line says 499. */
static void client_leaves(void **state)
{
    (void)state;
    fake_automatic(false);
    client_begin(&client, api, "POST", "/v1/chat/completions", NULL, bytes_of(CHAT));
    assert_false(client_pump(&client));
    assert_int_equal(client.suspended, 1);
    client_end(&client);
    assert_true(fake_job(0)->put);
    assert_true(fake_job(0)->cancelled);
    assert_non_null(strstr(floor_log(), " 499 0 bytes "));
}

static void loading(void **state)
{
    (void)state;
    fake_state(ENGINE_LOADING, "packing weights", 0.25);
    assert_int_equal(ask("POST", "/v1/chat/completions", NULL, CHAT), 503);
    assert_string_equal(client_header(&client, "Retry-After"), "2");
    assert_string_equal(client.answer.data,
                        "{\"error\":{\"message\":\"the model is still loading (packing weights, "
                        "25 %)\",\"type\":\"service_unavailable_error\",\"param\":null,"
                        "\"code\":\"model_loading\"}}");
    client_end(&client);
    expect(503, "GET", "/v1/models", NULL);
    expect(503, "GET", "/v1/models/x", NULL);
    expect(503, "GET", "/v1/metadata", NULL);
    expect(200, "GET", "/v1/metrics", NULL);
    expect(200, "GET", "/v1/version", NULL);
    expect(200, "GET", "/v1/health/live", NULL);
    assert_int_equal(ask("GET", "/v1/health/ready", NULL, NULL), 503);
    assert_string_equal(client.answer.data,
                        "{\"object\":\"health.response\",\"message\":\"loading\",\"status\":"
                        "\"loading\",\"ready\":false,\"stage\":\"packing weights\","
                        "\"progress\":0.25}");
    client_end(&client);
    fake_state(ENGINE_FAILED, "tensor blk.0.attn_q.weight is missing", 0);
    assert_int_equal(ask("GET", "/health", NULL, NULL), 503);
    assert_non_null(strstr(client.answer.data, "attn_q.weight is missing"));
    client_end(&client);
    assert_int_equal(ask("POST", "/v1/chat/completions", NULL, CHAT), 503);
    assert_non_null(strstr(client.answer.data, "not available: tensor blk.0"));
    client_end(&client);
}

static void draining(void **state)
{
    (void)state;
    fake_state(ENGINE_DRAINING, "", 0);
    assert_int_equal(ask("POST", "/v1/chat/completions", NULL, CHAT), 503);
    assert_string_equal(client_header(&client, "Retry-After"), "5");
    assert_non_null(strstr(client.answer.data, "\"code\":\"shutting_down\""));
    client_end(&client);
    expect(503, "GET", "/v1/health/ready", NULL);
    expect(200, "GET", "/v1/health/live", NULL);
}

static void bodies(void **state)
{
    const struct {
        const char *path, *body;
    } row[] = {
        {"/v1/health/live",
         "{\"object\":\"health.response\",\"message\":\"live\",\"status\":\"live\"}"},
        {"/v1/health/ready", "{\"object\":\"health.response\",\"message\":\"ready\",\"status\":"
                             "\"ready\",\"ready\":true}"},
        {"/v1/version", "{\"release\":\"1.2\",\"api\":\"1.0.0\"}"},
        {"/v1/metadata",
         "{\"version\":\"1.2\",\"modelInfo\":[{\"shortName\":\"fake/model-1\","
         "\"modelUrl\":\"fake.gguf\"}],\"assetInfo\":[],\"repository_override\":\"\","
         "\"arch\":\"fake\",\"format\":\"f32\",\"device\":\"cpu\",\"kernels\":\"none\","
         "\"layers\":4,\"gpu_layers\":3,\"gpu_config\":{\"id\":\"l4\"}}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_int_equal(ask("GET", row[i].path, NULL, NULL), 200);
        assert_string_equal(client.answer.data, row[i].body);
        assert_string_equal(client.call.type, "application/json");
        client_end(&client);
    }
}

static void tokenize(void **state)
{
    int status;
    char *s;

    (void)state;
    s = client_ask(api, "POST", "/tokenize", "{\"prompt\":\"ab</s>\"}", &status);
    assert_string_equal(s, "{\"count\":4,\"max_model_len\":4096,\"tokens\":[256,97,98,257]}");
    assert_int_equal(status, 200);
    xfree(s);
    s = client_ask(api, "POST", "/tokenize", "{\"prompt\":\"a\",\"add_special_tokens\":false}",
                   &status);
    assert_string_equal(s, "{\"count\":1,\"max_model_len\":4096,\"tokens\":[97]}");
    xfree(s);
    s = client_ask(api, "POST", "/detokenize", "{\"tokens\":[258,259,195,169]}", &status);
    assert_string_equal(s, "{\"prompt\":\"Hello world\xc3\xa9\"}");
    xfree(s);
    s = client_ask(api, "POST", "/detokenize", "{\"tokens\":[261]}", &status);
    assert_int_equal(status, 400);
    assert_non_null(strstr(s, "\"param\":\"tokens[0]\""));
    xfree(s);
}

int main(void)
{
#define T(f)        cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define WITH(f, up) cmocka_unit_test_setup_teardown(f, up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH(keys, set_up_guarded),
        T(paths),
        T(model_ids),
        WITH(strict, set_up_strict),
        WITH(too_large, set_up_strict),
        T(ids),
        T(access_line),
        T(client_leaves),
        T(loading),
        T(draining),
        T(bodies),
        T(tokenize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
