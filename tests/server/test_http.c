/* test_http.c - the HTTP server over real sockets, over a scripted api (fake/script.h). */
#include "server/http.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "tests/server/fake/client.h"
#include "tests/server/fake/script.h"
#include "tests/support/test.h"

static struct http *http;
static int port;

static int set_up(void **state)
{
    int fd;
    (void)state;
    assert_int_equal(http_listen("127.0.0.1", 0, &fd, &port), OK);
    struct http_options o = {.api = script_begin(), .fd = fd, .threads = 3, .idle_timeout = 8};
    dial_to(port);
    return http_open(&o, &http);
}

static int tear_down(void **state)
{
    (void)state;
    if (http)
        http_close(http);
    http = NULL;
    script_end();
    return 0;
}

static void wait_until(atomic_int *n, int value)
{
    double start = clock_now();
    while (atomic_load(n) != value && clock_now() - start < PATIENCE_MS / 1000.0)
        usleep(500);
    assert_int_equal(atomic_load(n), value);
    print_message("    after %.1f ms\n", (clock_now() - start) * 1000);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- requests -------------------------------------------------------------------------------- */

static void test_requests_on_one_connection(void **state)
{
    struct client c = dial();
    struct buf b = {0};
    (void)state;
    assert_int_equal(round_trip(&c, GET("/a/b%20c%2Fd?x=%41&y"), &b), 200);
    assert_string_equal(b.data, "GET /a/b c/d?x=%41&y 0 0 - 127.0.0.1");
    assert_int_equal(round_trip(&c,
                                "POST /p HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc\r\n"
                                "Content-Length: 3\r\n\r\nabc",
                                &b),
                     200);
    assert_string_equal(b.data, "POST /p? 3 17862 abc 127.0.0.1");
    assert_int_equal(round_trip(&c, "DELETE /d HTTP/1.1\r\nHost: x\r\n\r\n", &b), 200);
    assert_string_equal(b.data, "DELETE /d? 0 0 - 127.0.0.1");
    ask(&c, "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&c, true, NULL), 200);
    assert_int_equal(round_trip(&c, GET("http://other/q?z"), &b), 200); /* absolute form */
    assert_string_equal(b.data, "GET /q?z 0 0 - 127.0.0.1");
    assert_int_equal(round_trip(&c, GET("/broken%zz"), &b), 400);
    assert_int_equal(round_trip(&c, GET("/nul%00"), &b), 400);
    assert_int_equal(round_trip(&c, GET("/secret"), &b), 401);
    assert_int_equal(round_trip(&c, GET("/timer"), &b), 200);
    assert_int_equal(round_trip(&c, GET("/still/here"), &b), 200);
    hang_up(&c);
    buf_clear(&b);
}

static void test_bodies(void **state)
{
    struct client c = dial();
    struct buf b = {0}, request = {0};
    (void)state;
    ask(&c, "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    ask(&c, "1\r\na\r\n");
    usleep(20000);
    assert_int_equal(round_trip(&c, "2;ext=1\r\nbc\r\n0\r\nTrailer: t\r\n\r\n", &b), 200);
    assert_string_equal(b.data, "POST /c? 3 17862 - 127.0.0.1");
    const char *slow = "POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    for (size_t i = 0; slow[i]; i++) {
        say(&c, slow + i, 1);
        usleep(300);
    }
    assert_int_equal(hear(&c, false, &b), 200);
    assert_string_equal(b.data, "POST /s? 3 17862 - 127.0.0.1");
    buf_printf(&request, "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", MAX_BODY);
    for (int i = 0; i < MAX_BODY; i++)
        buf_putc(&request, 'x');
    assert_int_equal(round_trip(&c, request.data, &b), 200);
    assert_non_null(strstr(b.data, " 1048576 "));
    ask(&c, "POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(hear(&c, true, NULL), 100);
    assert_int_equal(round_trip(&c, "abc", &b), 200);
    ask(&c, "POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
            "Expect: 100-continue\r\n\r\n");
    assert_int_equal(hear(&c, false, &b), 401); /* without the body */
    assert_false(more(&c));
    hang_up(&c);
    buf_clear(&b);
    buf_clear(&request);
}

static void test_refused_bodies_are_read_to_their_end(void **state)
{
    struct client c = dial();
    struct buf b = {0}, request = {0};
    (void)state;
    buf_printf(&request, "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
               MAX_BODY + 1);
    for (int i = 0; i <= MAX_BODY; i++)
        buf_putc(&request, 'x');
    assert_int_equal(round_trip(&c, request.data, &b), 413);
    assert_string_equal(b.data, "announced");
    assert_int_equal(round_trip(&c, GET("/next"), &b), 200);
    ask(&c, "POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        ask(&c, "80000\r\n");
        say(&c, request.data + request.len - 0x80000, 0x80000);
        ask(&c, "\r\n");
    }
    assert_int_equal(round_trip(&c, "0\r\n\r\n", &b), 413);
    assert_int_equal(round_trip(&c, GET("/next"), &b), 200);
    /* too much even to throw away */
    assert_int_equal(round_trip(&c,
                                "POST /huge HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n"
                                "\r\n",
                                &b),
                     413);
    hang_up(&c);
    buf_clear(&b);
    buf_clear(&request);
}

static void test_pipelined(void **state)
{
    struct client c = dial();
    struct buf b = {0};
    (void)state;
    for (int i = 0; i < 20; i++)
        ask(&c, GET("/wait") GET("/e") GET("/stream?n=3"));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(hear(&c, false, &b), 200);
        assert_string_equal(b.data, "0\n");
        assert_int_equal(hear(&c, false, &b), 200);
        assert_string_equal(b.data, "GET /e? 0 0 - 127.0.0.1");
        assert_int_equal(hear(&c, false, &b), 200);
        assert_string_equal(b.data, "0\n1\n2\n");
    }
    hang_up(&c);
    buf_clear(&b);
}

static void test_http_1_0(void **state)
{
    struct client c = dial();
    struct buf b = {0};
    (void)state;
    assert_int_equal(round_trip(&c, "GET /stream?n=5 HTTP/1.0\r\n\r\n", &b), 200);
    assert_string_equal(b.data, "0\n1\n2\n3\n4\n");
    hang_up(&c);
    buf_clear(&b);
}

/* Two answers to where the body ends: refused and closed, so that what follows is no request. */
static void test_two_lengths(void **state)
{
    /* clang-format off */
    static const char *const bad[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    static const char same[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
    /* clang-format on */
    struct buf b = {0};
    struct client c;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        c = dial();
        assert_int_equal(round_trip(&c, bad[i], &b), 400);
        assert_string_equal(b.data, "the headers give two different lengths of the body");
        assert_int_equal(hear(&c, false, NULL), 0);
        hang_up(&c);
    }
    c = dial();
    assert_int_equal(round_trip(&c, same, &b), 200);
    hang_up(&c);
    buf_clear(&b);
}

static void test_malformed(void **state)
{
    /* clang-format off */
    static const char *const bad[] = {
        "GET\r\n\r\n", "nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\n: v\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    };
    /* never complete: the server waits, and forgets them when they go */
    static const char *const partial[] = {
        "\x16\x03\x01\x02", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    };
    /* clang-format on */
    struct buf b = {0}, big = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct client c = dial();
        ask(&c, bad[i]);
        int status = hear(&c, false, NULL);         /* 0: closed without a word */
        assert_true(status < 500 || status == 505); /* 505: HTTP version */
        while (status != 200 && more(&c))           /* 200: taken for a request without a path */
            continue;                               /* else the connection ends, or this test */
        hang_up(&c);
    }
    for (size_t i = 0; i < sizeof partial / sizeof *partial; i++) {
        struct client c = dial();
        ask(&c, partial[i]);
        usleep(2000);
        hang_up(&c);
    }
    struct client c = dial();
    buf_puts(&big, "GET / HTTP/1.1\r\nHost: x\r\nX-Big: ");
    for (int i = 0; i < 100000; i++)
        buf_putc(&big, 'x');
    buf_puts(&big, "\r\n\r\n");
    ask(&c, big.data);
    int status = hear(&c, false, NULL);
    assert_true(status == 431 || status == 413);
    hang_up(&c);
    c = dial();
    assert_int_equal(round_trip(&c, GET("/alive"), &b), 200);
    hang_up(&c);
    buf_clear(&b);
    buf_clear(&big);
}

/* ---- clients that leave ---------------------------------------------------------------------- */

static void test_client_leaves(void **state)
{
    struct client c;
    (void)state;
    c = dial();
    ask(&c, GET("/hang?quiet")); /* before any reply */
    usleep(20000);
    assert_int_equal(ends, 0);
    hang_up(&c);
    wait_until(&ends, 1);
    c = dial();
    ask(&c, GET("/hang")); /* in the middle of a stream */
    find(&c, 0, "hello");
    usleep(20000);
    assert_int_equal(ends, 1);
    hang_up(&c);
    wait_until(&ends, 2);
    c = dial();
    ask(&c, GET("/hang") GET("/pipelined"));
    find(&c, 0, "hello");
    shutdown(c.fd, SHUT_WR); /* half closed counts as gone */
    wait_until(&ends, 3);
    hang_up(&c);
    c = dial(); /* reset */
    ask(&c, GET("/hang"));
    find(&c, 0, "hello");
    struct linger hard = {1, 0};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    hang_up(&c);
    wait_until(&ends, 4);
    c = dial(); /* gone before the server looks */
    ask(&c, GET("/hang"));
    hang_up(&c);
    wait_until(&ends, 5);
    assert_int_equal(unfinished, 5);
}

/* ---- many at once ---------------------------------------------------------------------------- */

enum { STREAMS = 64, PIECES = 300 };

static void *listen_to_streams(void *arg)
{
    struct buf b = {0};
    struct client c = dial();
    intptr_t bad = 0;
    for (int round = 0; round < 3; round++) {
        char request[100];
        int n = PIECES / 3 * (round + 1);
        snprintf(request, sizeof request, GET("/stream?n=%d"), n);
        bad += round_trip(&c, request, &b) != 200;
        char *at = b.data;
        for (int i = 0; i < n; i++)
            bad += strtol(at, &at, 10) != i;
        bad += *at != '\n' || at[1];
    }
    hang_up(&c);
    buf_clear(&b);
    (void)arg;
    return (void *)bad;
}

static void test_parallel_streams(void **state)
{
    pthread_t t[STREAMS];
    void *bad;
    (void)state;
    for (int i = 0; i < STREAMS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, listen_to_streams, NULL), 0);
    for (int i = 0; i < STREAMS; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    assert_int_equal(unfinished, 0);
}

/* Streams to clients that leave at random moments, many short ones, all at once. One connection in
 * 50000 or so, reset in the moment it is accepted, is closed by libmicrohttpd 0.9.75 only when its
 * idle time is over: hence idle_timeout above, below the time that the test waits. */
static void *come_and_go(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 150; i++) {
        struct client c = dial();
        int what = rand_r(&seed) % 4;
        ask(&c, what == 0 ? GET("/hang?quiet") : what == 1 ? GET("/hang") : GET("/stream?n=40"));
        if (what == 2)
            hear(&c, false, NULL);
        else
            usleep((useconds_t)(rand_r(&seed) % 1500));
        hang_up(&c);
    }
    return NULL;
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_thousands_of_clients(void **state)
{
    pthread_t t[8];
    int before = open_descriptors();
    (void)state;
    for (uintptr_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, come_and_go, (void *)(i + 1)), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    struct client c = dial();
    for (int i = 0; i < 3000; i++)
        assert_int_equal(round_trip(&c, i % 3 ? GET("/e") : GET("/wait"), NULL), 200);
    hang_up(&c);
    double start = clock_now();
    while ((http_active(http) || open_descriptors() > before) && clock_now() - start < 20)
        usleep(1000);
    assert_int_equal(http_active(http), 0);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(heads, ends);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void test_drain_and_abort(void **state)
{
    struct client a = dial(), b = dial(), c = dial();
    (void)state;
    ask(&a, GET("/hang"));
    ask(&b, GET("/hang?quiet"));
    find(&a, 0, "hello");
    assert_int_equal(round_trip(&c, GET("/e"), NULL), 200);
    http_drain(http); /* answers go on, but end their connection */
    ask(&c, GET("/e"));
    assert_int_not_equal(find(&c, 0, "Connection: close"), 0);
    while (more(&c))
        continue;
    double start = clock_now();
    while (http_active(http) != 2 && clock_now() - start < 20)
        usleep(1000);
    assert_int_equal(http_active(http), 2);
    http_abort(http);
    while (more(&a))
        continue;
    assert_int_equal(hear(&b, false, NULL), 0);
    wait_until(&ends, 4);
    struct client d = dial(); /* comes too late: nothing may hang any more */
    assert_int_equal(round_trip(&d, GET("/hang?quiet"), NULL), 0);
    hang_up(&a), hang_up(&b), hang_up(&c), hang_up(&d);
}

static void test_close_under_load(void **state)
{
    struct client c[32];
    (void)state;
    for (int i = 0; i < 32; i++) {
        c[i] = dial();
        ask(&c[i], i % 2 ? GET("/hang") : GET("/stream?n=2000000000"));
    }
    usleep(50000);
    http_close(http);
    http = NULL;
    for (int i = 0; i < 32; i++)
        hang_up(&c[i]);
}

/* The kernel lists a keep-alive timer (02) for the server's side of an idle connection. */
static void test_dead_clients_are_probed(void **state)
{
    struct client c = dial();
    char line[512], ours[16];
    bool probed = false;
    (void)state;
    assert_int_equal(round_trip(&c, GET("/e"), NULL), 200);
    FILE *f = fopen("/proc/net/tcp", "r");
    if (!f)
        SKIP("no /proc/net/tcp");
    snprintf(ours, sizeof ours, "0100007F:%04X", (unsigned)port);
    while (fgets(line, sizeof line, f)) {
        unsigned timer = 0, connected = 0;
        char local[32] = "";
        if (sscanf(line, "%*s %31s %*s %x %*s %x:", local, &connected, &timer) == 3)
            probed = probed || (!strcmp(local, ours) && connected == 1 && timer == 2);
    }
    fclose(f);
    assert_true(probed);
    hang_up(&c);
}

static void test_port_in_use(void **state)
{
    int fd, bound;
    (void)state;
    assert_int_equal(http_listen("127.0.0.1", port, &fd, &bound), ERR_IO);
    char expected[64];
    snprintf(expected, sizeof expected, "port %d of 127.0.0.1 is in use", port);
    assert_non_null(strstr(fail_text(), expected));
    assert_int_equal(http_listen("no such host", 0, &fd, &bound), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "\"no such host\""));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_requests_on_one_connection),
        TEST(test_bodies),
        TEST(test_refused_bodies_are_read_to_their_end),
        TEST(test_pipelined),
        TEST(test_http_1_0),
        TEST(test_malformed),
        TEST(test_two_lengths),
        TEST(test_client_leaves),
        TEST(test_parallel_streams),
        TEST(test_thousands_of_clients),
        TEST(test_drain_and_abort),
        TEST(test_close_under_load),
        TEST(test_dead_clients_are_probed),
        TEST(test_port_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
