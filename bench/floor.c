/*
 * The floor: what the same work costs in C on epoll, with nothing in between.
 *
 *   floor rtt [ECHOES]       64 octets there and back over one TCP connection, both ends in this thread
 *   floor stream [MIB]       MIB mebibytes one way, send and recv of 256 KiB, both ends in this thread
 *   floor server             a WebSocket echo server on 127.0.0.1; ends when its standard input does
 *   floor fanout             a server that sends each message to all other connections, as often as its first octet
 *                            says, and as one write to each; ends when its standard input does
 *
 * The server trusts its peer entirely (no check of masks, opcodes, lengths or text): it is a price to compare
 * with, not a server. Linux only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)
#define PAYLOAD 64

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* ---- sockets ---- */

static int listen_any(uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)
        || getsockname(fd, (struct sockaddr *)&a, &length))
        fail("listen");
    *port = ntohs(a.sin_port);
    return fd;
}

static void no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void connected_pair(int pair[2])
{
    uint16_t port;
    int listener = listen_any(&port);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair[0] < 0 || connect(pair[0], (struct sockaddr *)&a, sizeof a))
        fail("connect");
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    pair[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (pair[1] < 0)
        fail("accept");
    no_delay(pair[0]);
    no_delay(pair[1]);
    close(listener);
}

static void watch(int epoll, int op, int fd, uint32_t events, void *data)
{
    struct epoll_event e = { .events = events, .data.ptr = data };
    if (epoll_ctl(epoll, op, fd, &e))
        fail("epoll_ctl");
}

/* ---- rtt ---- */

/* One turn of a loop: wait, read, write. Two of these make an echo: six system calls. */
static void bounce(int epoll, char *buffer)
{
    struct epoll_event e;
    if (epoll_wait(epoll, &e, 1, -1) != 1)
        fail("epoll_wait");
    ssize_t n = recv(e.data.fd, buffer, CHUNK, 0);
    if (n != PAYLOAD || send(e.data.fd, buffer, n, MSG_NOSIGNAL) != n)
        fail("echo");
}

static void rtt(long echoes)
{
    static char buffer[CHUNK];
    int pair[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    connected_pair(pair);
    for (int i = 0; i < 2; i++) {
        struct epoll_event e = { .events = EPOLLIN, .data.fd = pair[i] };
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, pair[i], &e))
            fail("epoll_ctl");
    }
    if (send(pair[0], buffer, PAYLOAD, MSG_NOSIGNAL) != PAYLOAD)
        fail("send");
    for (long i = 0; i < echoes / 10; i++)
        bounce(epoll, buffer), bounce(epoll, buffer);
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < echoes; i++)
        bounce(epoll, buffer), bounce(epoll, buffer);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("bench=floor-rtt echoes=%ld wall_ns=%.0f cpu_ns=%.0f\n", echoes, wall / echoes * 1e9, cpu / echoes * 1e9);
}

/* ---- stream ---- */

static void stream(long mebibytes)
{
    static char out[CHUNK], in[CHUNK];
    int pair[2];
    connected_pair(pair);
    memset(out, 'x', sizeof out);
    int64_t total = (int64_t)mebibytes << 20, sent = 0, received = 0;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (received < total) {
        if (sent < total) {
            ssize_t n = send(pair[0], out, total - sent < CHUNK ? total - sent : CHUNK, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN)
                fail("send");
            sent += n > 0 ? n : 0;
        }
        ssize_t n = recv(pair[1], in, CHUNK, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            fail("recv");
        received += n > 0 ? n : 0;
    }
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("bench=floor-stream mib=%ld wall_mb_s=%.0f cpu_mb_s=%.0f\n", mebibytes, total / wall / 1e6, total / cpu / 1e6);
}

/* ---- the opening handshake: SHA-1 (RFC 3174) and base64 of 20 octets ---- */

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
        uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* The 24 characters of a key and the 36 of the GUID make 60 octets: always two blocks. */
static void accept_key(const char *key, char out[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t text[128] = { 0 }, digest[21] = { 0 };
    uint32_t h[5] = { 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0 };
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    text[60] = 0x80;
    text[126] = 480 >> 8;
    text[127] = 480 & 255;
    sha1_block(h, text);
    sha1_block(h, text + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
    for (int i = 0; i < 28; i++) {
        int bit = 6 * i;
        out[i] = digits[(digest[bit / 8] << 8 | digest[bit / 8 + 1]) >> (10 - bit % 8) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

/* ---- server ---- */

struct connection {
    struct connection *next, *previous; /* in the list of all */
    int fd;
    int upgraded, closing;
    char *rest, *unsent; /* an incomplete frame; what the kernel did not take */
    size_t rest_length, unsent_length;
};

static char input[2 * CHUNK], output[2 * CHUNK];
static struct connection all = { .next = &all, .previous = &all };
static int fans_out;

static void drop(struct connection *c)
{
    c->next->previous = c->previous;
    c->previous->next = c->next;
    close(c->fd);
    free(c->rest);
    free(c->unsent);
    free(c);
}

static char *keep(const char *data, size_t length)
{
    char *copy = malloc(length);
    if (!copy)
        fail("malloc");
    return memcpy(copy, data, length);
}

/* What a connection is to be sent and the kernel has not taken. It is not read from until that is gone. */
static void keep_unsent(int epoll, struct connection *c, const char *data, size_t length)
{
    c->unsent_length = length;
    c->unsent = keep(data, length);
    watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
}

/* The frames in `output` to all but their sender. */
static void fan_out(int epoll, struct connection *sender, size_t length)
{
    for (struct connection *c = all.next, *next; c != &all; c = next) {
        next = c->next;
        if (c == sender || !c->upgraded || c->unsent_length)
            continue;
        ssize_t sent = send(c->fd, output, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            drop(c);
        else if (sent < (ssize_t)length)
            keep_unsent(epoll, c, output + (sent < 0 ? 0 : sent), length - (sent < 0 ? 0 : sent));
    }
}

/* Echoes every whole frame of the input, unmasked; returns how much of the input that was. A Close ends it. */
static size_t echo_frames(struct connection *c, char *in, size_t length, size_t *out_length)
{
    size_t at = 0, out = 0;
    while (!c->closing && length - at >= 6) {
        uint8_t *f = (uint8_t *)in + at;
        size_t head = 2, payload = f[1] & 127;
        if (payload == 126)
            head = 4, payload = f[2] << 8 | f[3];
        else if (payload == 127)
            head = 10, payload = (size_t)f[6] << 24 | f[7] << 16 | f[8] << 8 | f[9];
        if (length - at < head + 4 + payload)
            break;
        uint32_t mask;
        memcpy(&mask, f + head, 4);
        uint8_t *to = (uint8_t *)output + out, *from = f + head + 4;
        memcpy(to, f, head);
        to[1] &= 127;
        to += head;
        uint64_t mask8 = (uint64_t)mask << 32 | mask;
        size_t i = 0;
        for (; i + 8 <= payload; i += 8) {
            uint64_t word;
            memcpy(&word, from + i, 8);
            word ^= mask8;
            memcpy(to + i, &word, 8);
        }
        for (; i < payload; i++)
            to[i] = from[i] ^ ((uint8_t *)&mask)[i & 3];
        c->closing = (f[0] & 15) == 8;
        out += head + payload;
        at += head + 4 + payload;
    }
    *out_length = out;
    return at;
}

static size_t upgrade(struct connection *c, char *in, size_t length, size_t *out_length)
{
    char *end = memmem(in, length, "\r\n\r\n", 4), key[29];
    if (!end)
        return 0;
    *end = 0;
    char *field = strcasestr(in, "\r\nSec-WebSocket-Key:");
    if (!field) {
        c->closing = 1;
        return 0;
    }
    field += strlen("\r\nSec-WebSocket-Key:");
    accept_key(field + strspn(field, " \t"), key);
    *out_length = sprintf(output, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n", key);
    c->upgraded = 1;
    return end + 4 - in;
}

static void readable(int epoll, struct connection *c)
{
    size_t length = c->rest_length, out = 0;
    if (length)
        memcpy(input, c->rest, length);
    ssize_t n = recv(c->fd, input + length, CHUNK, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(c);
        return;
    }
    length += n;
    const int was_upgraded = c->upgraded;
    size_t used = was_upgraded ? echo_frames(c, input, length, &out) : upgrade(c, input, length, &out);
    if (fans_out && was_upgraded && out && !c->closing) {
        size_t head = output[1] == 126 ? 4 : 2, times = (uint8_t)output[head];
        for (size_t i = 1; i < times && (i + 1) * out <= sizeof output; i++)
            memcpy(output + i * out, output, out);
        fan_out(epoll, c, times * out);
        out = 0;
    }
    if (length - used > CHUNK)
        c->closing = 1; /* a frame this server has no room for */
    if (c->rest_length)
        free(c->rest);
    c->rest_length = length - used;
    c->rest = c->rest_length ? keep(input + used, c->rest_length) : NULL;
    ssize_t sent = out ? send(c->fd, output, out, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno == EAGAIN)
        sent = 0;
    if (sent < 0 || (c->closing && (size_t)sent == out)) {
        drop(c);
    } else if ((size_t)sent < out) { /* stop reading until it is gone */
        keep_unsent(epoll, c, output + sent, out - sent);
    }
}

static void writable(int epoll, struct connection *c)
{
    ssize_t sent = send(c->fd, c->unsent, c->unsent_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(c);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    c->unsent_length -= sent;
    if (c->unsent_length) {
        memmove(c->unsent, c->unsent + sent, c->unsent_length);
    } else if (c->closing) {
        drop(c);
    } else {
        free(c->unsent);
        c->unsent = NULL;
        watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    }
}

static void accept_one(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    no_delay(fd);
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        fail("calloc");
    c->fd = fd;
    c->next = all.next;
    c->previous = &all;
    all.next->previous = c;
    all.next = c;
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

static void server(void)
{
    static struct connection listening, standard_input;
    struct epoll_event events[64];
    uint16_t port;
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = listen_any(&port);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listening);
    watch(epoll, EPOLL_CTL_ADD, 0, EPOLLIN, &standard_input);
    printf("port=%d pid=%ld\n", port, (long)getpid());
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &standard_input)
                exit(0);
            else if (c == &listening)
                accept_one(epoll, listener);
            else if (c->unsent_length)
                writable(epoll, c);
            else
                readable(epoll, c);
        }
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    long count = argc > 2 ? atol(argv[2]) : 0;
    if (argc > 2 && count <= 0) {
        fprintf(stderr, "floor: '%s' is not a positive number\n", argv[2]);
        return 2;
    }
    if (!strcmp(what, "rtt"))
        rtt(count ? count : 100000);
    else if (!strcmp(what, "stream"))
        stream(count ? count : 4096);
    else if (!strcmp(what, "server") || (fans_out = !strcmp(what, "fanout")))
        server();
    else {
        fprintf(stderr, "usage: floor rtt [ECHOES] | floor stream [MIB] | floor server | floor fanout\n");
        return 2;
    }
    return 0;
}
