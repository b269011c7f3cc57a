/* test_messages.c - what the chat template gets for what a client sent. */
#include "api/messages.h"

#include <string.h>

#include "api/fields.h"
#include "kernels/base/mem.h"
#include "tests/api/fake/floor.h"
#include "tests/support/test.h"

/* Members of the request, and the variables they become (without add_generation_prompt). */
static void expect_vars(const char *request, const char *want)
{
    struct messages m = {.use_tools = true};
    const struct json *body, *vars;
    struct arena a = {0};
    struct buf out = {0};

    assert_int_equal(fields_parse(&a, bytes_of(request), &body), OK);
    m.messages = json_get(body, "messages");
    m.tools = json_get(body, "tools");
    m.kwargs = json_get(body, "kwargs");
    m.documents = json_get(body, "documents");
    m.use_tools = !json_get(body, "no_tools");
    m.parts = json_get(body, "parts") != NULL;
    m.text_calls = json_get(body, "text_calls") != NULL;
    if (json_get(body, "effort"))
        m.reasoning_effort = json_get(body, "effort")->text;
    assert_int_equal(messages_vars(&m, &a, &vars), OK);
    json_write(&out, vars);
    assert_memory_equal(out.data + out.len - 31, ",\"add_generation_prompt\":false}", 31);
    out.data[out.len - 31] = '\0';
    assert_string_equal(out.data + 1, want);
    buf_clear(&out);
    arena_clear(&a);
}

static void expect(const char *messages, const char *want)
{
    char request[2048], vars[2048];

    snprintf(request, sizeof request, "{\"messages\":[%s]}", messages);
    snprintf(vars, sizeof vars, "\"messages\":[%s]", want);
    expect_vars(request, vars);
}

static void roles(void **state)
{
    (void)state;
    expect("{\"role\":\"developer\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"}",
           "{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"}");
    expect("{\"role\":\"function\",\"name\":\"f\",\"content\":\"a\"}",
           "{\"role\":\"tool\",\"content\":\"a\",\"name\":\"f\"}");
    expect("{\"content\":\"a\",\"role\":\"tool\",\"tool_call_id\":\"x\"}",
           "{\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":\"x\"}");
}

static void contents(void **state)
{
    (void)state;
    expect("{\"role\":\"user\",\"content\":\"\"}", "{\"role\":\"user\",\"content\":\"\"}");
    expect(
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a \"},"
        "{\"type\":\"input_text\",\"text\":\"b\"},{\"type\":\"output_text\",\"text\":\"\xc3\xa9\"},"
        "{\"type\":\"refusal\",\"refusal\":\"!\"}]}",
        "{\"role\":\"user\",\"content\":\"a \\nb\\n\xc3\xa9\\n!\"}");
    expect("{\"role\":\"user\",\"content\":[]}", "{\"role\":\"user\",\"content\":\"\"}");
    expect("{\"role\":\"assistant\",\"content\":null}",
           "{\"role\":\"assistant\",\"content\":\"\"}");
    expect("{\"role\":\"assistant\"},{\"role\":\"tool\"}",
           "{\"role\":\"assistant\",\"content\":\"\"},{\"role\":\"tool\",\"content\":\"\"}");
}

/* For a template that reads a user's parts; what has one part is a string all the same. */
static void parts(void **state)
{
    static const char two[] = "[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{}},"
                              "{\"type\":\"input_text\",\"text\":\"b\"}]";
    char request[512];

    (void)state;
    snprintf(
        request, sizeof request,
        "{\"messages\":[{\"role\":\"system\",\"content\":%s},{\"role\":\"user\",\"content\":%s},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"c\"}]}],\"parts\":1}",
        two, two);
    expect_vars(request,
                "\"messages\":[{\"role\":\"system\",\"content\":\"ab\"},"
                "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"user\",\"content\":\"c\"}]");
}

/* Nulls go, unknown members stay, with their numbers as they were written. */
static void other_members(void **state)
{
    (void)state;
    expect("{\"name\":null,\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":\"a\","
           "\"x\":[1.50,null],\"tool_calls\":null,\"refusal\":null}",
           "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"hm\","
           "\"x\":[1.50,null],\"reasoning\":\"hm\",\"thinking\":\"hm\"}");
}

/* Under each name that templates know, whichever the client used; the oldest counts. */
static void reasoning(void **state)
{
    (void)state;
    expect("{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\"}",
           "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\","
           "\"reasoning_content\":\"r\",\"thinking\":\"r\"}");
    expect("{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\","
           "\"reasoning_content\":\"c\"}",
           "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\","
           "\"reasoning_content\":\"c\",\"thinking\":\"c\"}");
    expect("{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":null,"
           "\"thinking\":\"t\",\"reasoning\":{\"effort\":1}}",
           "{\"role\":\"assistant\",\"content\":\"a\",\"thinking\":\"t\","
           "\"reasoning\":{\"effort\":1},\"reasoning_content\":\"t\"}");
}

#define CALL(args)                                                                                 \
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"            \
    "\"function\""                                                                                 \
    ",\"function\":{\"name\":\"f\"" args "}}]}"
#define GIVEN(args)                                                                                \
    "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{"  \
    "\"name\":\"f\",\"arguments\":" args "}}],\"content\":\"\"}"

static void tool_calls(void **state)
{
    (void)state;
    expect(CALL(",\"arguments\":\"{\\\"a\\\": 1.0, \\\"b\\\": [\\\"x\\\"]}\""),
           GIVEN("{\"a\":1.0,\"b\":[\"x\"]}"));
    expect(CALL(",\"arguments\":{\"a\":1}"), GIVEN("{\"a\":1}"));
    expect(CALL(""), GIVEN("{}"));
    expect(CALL(",\"arguments\":null"), GIVEN("{}"));
    expect(CALL(",\"arguments\":\"\""), GIVEN("{}"));
    /* what a model wrote that is no JSON object: the conversation goes on with its text */
    expect(CALL(",\"arguments\":\"{broken\""), GIVEN("\"{broken\""));
    expect(CALL(",\"arguments\":\"[1]\""), GIVEN("\"[1]\""));
    expect(CALL(",\"arguments\":\"{\\\"a\\\":1,\\\"a\\\":2}\""),
           GIVEN("\"{\\\"a\\\":1,\\\"a\\\":2}\""));
    /* without type and id, and with text beside the call */
    expect("{\"role\":\"assistant\",\"content\":\"t\",\"tool_calls\":[{\"id\":null,"
           "\"function\":{\"name\":\"f\"}}]}",
           "{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":"
           "\"f\",\"arguments\":{}}}],\"content\":\"t\"}");
    expect("{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[]}",
           "{\"role\":\"user\",\"content\":\"a\"}");
}

/* For a template that knows them only so. */
static void text_calls(void **state)
{
    static const char call[] = "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{"
                               "\"name\":\"f\",\"arguments\":%s}}]";
    static const struct {
        const char *content, *arguments, *as, *text;
    } row[] = {
        {"null", "{\"a\":[1.50, null]}", "null", "\"{\\\"a\\\":[1.50,null]}\""},
        {"\"\"", "\"{\\\"a\\\": 1}\"", "null", "\"{\\\"a\\\": 1}\""},
        {"\"t\"", "null", "\"t\"", "\"{}\""},
        {"[]", "\"\"", "null", "\"{}\""},
    };
    char given[512], want[512], request[1024];

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        snprintf(given, sizeof given, call, row[i].arguments);
        snprintf(want, sizeof want, call, row[i].text);
        snprintf(request, sizeof request,
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":%s,%s}],\"text_calls\":1}",
                 row[i].content, given);
        snprintf(given, sizeof given, "\"messages\":[{\"role\":\"assistant\",%s,\"content\":%s}]",
                 want, row[i].as);
        expect_vars(request, given);
    }
}

#define M "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"

/* Tools go through as they are; nulls inside a schema have a meaning and stay. */
static void tools(void **state)
{
    static const char tool[] =
        "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"a\":{\"default\":null,\"minimum\":1e1}}}}}";
    char request[1024], want[1024];

    (void)state;
    snprintf(request, sizeof request, "{" M ",\"tools\":[%s]}", tool);
    snprintf(want, sizeof want, M ",\"tools\":[%s]", tool);
    expect_vars(request, want);
    snprintf(request, sizeof request, "{" M ",\"tools\":[%s],\"no_tools\":1}", tool);
    expect_vars(request, M);
    expect_vars("{" M ",\"tools\":[]}", M);
    expect_vars("{" M ",\"tools\":[{\"function\":{\"description\":null,\"name\":\"f\","
                "\"strict\":true},\"type\":\"function\",\"cache_control\":null}]}",
                M ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                  "\"strict\":true}}]");
}

static void kwargs(void **state)
{
    (void)state;
    expect_vars("{" M ",\"kwargs\":{\"enable_thinking\":false,\"documents\":[{\"a\":null}]}}",
                "\"enable_thinking\":false,\"documents\":[{\"a\":null}]," M);
    expect_vars("{" M ",\"documents\":[{\"a\":null}],\"effort\":\"low\"}",
                M ",\"documents\":[{\"a\":null}],\"reasoning_effort\":\"low\"");
    expect_vars("{" M ",\"documents\":[],\"effort\":\"low\",\"kwargs\":{\"reasoning_effort\":"
                "\"high\",\"documents\":[1]}}",
                "\"reasoning_effort\":\"high\",\"documents\":[1]," M);
}

/* The prompt ends where the last message's text does (as Transformers cuts it). */
static void go_on(void **state)
{
    struct api *api = floor_open(NULL);

    (void)state;
    xfree(client_ask(
        api, "POST", "/v1/chat/completions",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"It is \"}]}],"
        "\"continue_final_message\":true}",
        NULL));
    assert_string_equal(fake_job(0)->prompt,
                        "<s>{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                        "{\"role\":\"assistant\",\"content\":\"It is ");
    floor_close(api);
}

static void cut(const char *prompt, const char *want)
{
    const struct json message = {.type = JSON_OBJECT},
                      list = {.type = JSON_ARRAY, .first = &message, .count = 1};
    const struct messages m = {.messages = &list, .go_on = true};
    struct buf b = {0};

    buf_puts(&b, prompt);
    if (want) {
        assert_int_equal(messages_cut(&m, &b), OK);
        assert_string_equal(b.data, want);
    } else {
        assert_int_equal(messages_cut(&m, &b), ERR_INVALID);
        assert_non_null(strstr(fail_text(), "`messages[0].content` cannot be continued"));
    }
    buf_clear(&b);
}

/* A template may trim a message, and leave it out. */
static void cuts(void **state)
{
    (void)state;
    cut("<a>It is <|the message goes on here|> </a>\n", "<a>It is ");
    cut("<a>It is <|the message goes on here|></a>\n", "<a>It is");
    cut("<|the message goes on here|> x<|the message goes on here|>",
        "<|the message goes on here|> x");
    cut(" <|the message goes on here|>", "");
    cut("It is", NULL);
    cut("", NULL);
}

/* tool_choice "none": the tools are checked all the same, but the template does not get them. */
static void tool_choice(void **state)
{
    struct api *api = floor_open(NULL);

    (void)state;
    xfree(client_ask(api, "POST", "/v1/chat/completions",
                     "{" M ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
                     "\"tool_choice\":\"none\",\"add_generation_prompt\":false}",
                     NULL));
    assert_string_equal(fake_job(0)->prompt, "<s>{" M ",\"add_generation_prompt\":false}");
    xfree(client_ask(api, "POST", "/v1/chat/completions",
                     "{" M ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
                     "\"tool_choice\":\"auto\"}",
                     NULL));
    assert_non_null(strstr(fake_job(1)->prompt, "\"tools\":[{"));
    floor_close(api);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles),       cmocka_unit_test(contents),  cmocka_unit_test(other_members),
        cmocka_unit_test(tool_calls),  cmocka_unit_test(tools),     cmocka_unit_test(kwargs),
        cmocka_unit_test(tool_choice), cmocka_unit_test(reasoning), cmocka_unit_test(text_calls),
        cmocka_unit_test(go_on),       cmocka_unit_test(cuts),      cmocka_unit_test(parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
