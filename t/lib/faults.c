/* A library to preload: system calls of the engine fail as a plan says, and as they do on a bad day.
 *
 *   EVWS_FAULTS         CALL=FAULT/N,...   about every N-th such call; CALL may be "all"; "^N": the first N calls
 *   EVWS_FAULTS_SEED    which of them: the same seed, the same calls
 *   EVWS_FAULTS_REPORT  a file that gets "CALL seen injected" for each call at the end
 *   EVWS_ADDRESSES      ADDRESS,...: what every name is found to have, in that order
 *
 * FAULT is the name of an error, or "short": fewer bytes are read or written than could be. Only calls out of
 * libevws.so count: perl, libev and the tests have their own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    ACCEPT4, BIND, CLOSE, CONNECT, EVENTFD, FCNTL, GETADDRINFO, GETPEERNAME, GETSOCKNAME, GETSOCKOPT, LISTEN,
    PTHREAD_CREATE, READ, RECV, RECVMSG, SEND, SENDMSG, SETSOCKOPT, SHUTDOWN, SOCKET, WRITE, CALLS
};

static const char *const names[CALLS] = {
    "accept4", "bind", "close", "connect", "eventfd", "fcntl", "getaddrinfo", "getpeername", "getsockname",
    "getsockopt", "listen", "pthread_create", "read", "recv", "recvmsg", "send", "sendmsg", "setsockopt", "shutdown",
    "socket", "write"
};

#define SHORT (-1)

static const struct { const char *name; int fault; } faults[] = {
    { "short", SHORT }, { "EAGAIN", EAGAIN }, { "ECONNABORTED", ECONNABORTED }, { "ECONNRESET", ECONNRESET },
    { "EINTR", EINTR }, { "EMFILE", EMFILE }, { "ENFILE", ENFILE }, { "ENOBUFS", ENOBUFS }, { "ENOMEM", ENOMEM },
    { "EPIPE", EPIPE }, { "ETIMEDOUT", ETIMEDOUT }
};

static struct { int fault; unsigned every, first, seen, injected; } plan[CALLS];
static unsigned long long seed;
static char report[4096];
static int is_ready;

static void refuse(const char *what) {
    fprintf(stderr, "faults.c: EVWS_FAULTS: '%s' is no CALL=FAULT/N\n", what);
    _exit(120);
}

static void add_rule(const char *rule) {
    char call[32], fault[32];
    unsigned every = 0, first = 0, is_known = 0;
    if (sscanf(rule, "%31[^=]=%31[^/]/^%u", call, fault, &first) != 3
        && (sscanf(rule, "%31[^=]=%31[^/]/%u", call, fault, &every) != 3 || !every)) refuse(rule);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        if (strcmp(faults[f].name, fault)) continue;
        for (int c = 0; c < CALLS; c++) {
            /* Nothing is allocated for a shutdown, and it is how a connection ends that met another fault. */
            if (strcmp(names[c], call) && (strcmp("all", call) || c == SHUTDOWN)) continue;
            plan[c].fault = faults[f].fault;
            plan[c].every = every;
            plan[c].first = first;
            is_known = 1;
        }
    }
    if (!is_known) refuse(rule);
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("EVWS_FAULTS"), *number = getenv("EVWS_FAULTS_SEED"), *file = getenv("EVWS_FAULTS_REPORT");
    char copy[1024], *at = copy, *rule;
    seed = number ? strtoull(number, NULL, 10) : 1;
    if (file) snprintf(report, sizeof report, "%s", file);
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    while ((rule = strsep(&at, ","))) if (*rule) add_rule(rule);
    is_ready = 1;
}

__attribute__((destructor)) static void end(void) {
    FILE *out = *report ? fopen(report, "w") : NULL;
    if (!out) return;
    for (int c = 0; c < CALLS; c++) fprintf(out, "%s %u %u\n", names[c], plan[c].seen, plan[c].injected);
    fclose(out);
}

/* Whether an address lies in the engine. */
static int is_engine(void *address) {
    static __thread void *last_address;
    static __thread int last;
    Dl_info info;
    if (address == last_address) return last;
    last = dladdr(address, &info) && info.dli_fname && strstr(info.dli_fname, "libevws.");
    last_address = address;
    return last;
}

static unsigned long long scramble(unsigned long long x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* What this call is to meet: 0, an error, or SHORT with *most, how many bytes it may move. */
static int fate(int call, void *caller, size_t *most) {
    if (!is_ready || !is_engine(caller)) return 0;
    unsigned turn = __sync_add_and_fetch(&plan[call].seen, 1);
    if (!plan[call].fault) return 0;
    unsigned long long random = scramble(seed * 1000003 + (unsigned long long)call * 7919 + turn * 104729ULL);
    if (plan[call].every ? random % plan[call].every != 0 : turn > plan[call].first) return 0;
    __sync_add_and_fetch(&plan[call].injected, 1);
    if (most) *most = 1 + (size_t)((random >> 32) % 32);
    return plan[call].fault;
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }
#define CALLER __builtin_return_address(0)
#define FAIL(error) do { errno = (error); return -1; } while (0)

/* Calls that fail before they have done anything. A short one cannot be had of them. */
#define PLAIN(NUMBER, name, declared, passed)           \
    int name declared {                                 \
        static __typeof__(&name) next;                  \
        if (!next) next = REAL(name);                   \
        int error = fate(NUMBER, CALLER, NULL);         \
        if (error > 0) FAIL(error);                     \
        return next passed;                             \
    }

PLAIN(ACCEPT4, accept4, (int fd, struct sockaddr *a, socklen_t *l, int flags), (fd, a, l, flags))
PLAIN(BIND, bind, (int fd, const struct sockaddr *a, socklen_t l), (fd, a, l))
PLAIN(GETPEERNAME, getpeername, (int fd, struct sockaddr *a, socklen_t *l), (fd, a, l))
PLAIN(GETSOCKNAME, getsockname, (int fd, struct sockaddr *a, socklen_t *l), (fd, a, l))
PLAIN(GETSOCKOPT, getsockopt, (int fd, int v, int n, void *p, socklen_t *l), (fd, v, n, p, l))
PLAIN(LISTEN, listen, (int fd, int backlog), (fd, backlog))
PLAIN(SETSOCKOPT, setsockopt, (int fd, int v, int n, const void *p, socklen_t l), (fd, v, n, p, l))
PLAIN(SHUTDOWN, shutdown, (int fd, int how), (fd, how))
PLAIN(SOCKET, socket, (int d, int t, int p), (d, t, p))

int eventfd(unsigned count, int flags) {
    static int (*next)(unsigned, int);
    if (!next) next = (int (*)(unsigned, int))real("eventfd");
    int error = fate(EVENTFD, CALLER, NULL);
    if (error > 0) FAIL(error);
    return next(count, flags);
}

int fcntl(int fd, int command, ...) {
    static int (*next)(int, int, ...);
    if (!next) next = (int (*)(int, int, ...))real("fcntl");
    va_list list;
    va_start(list, command);
    long argument = va_arg(list, long);
    va_end(list);
    int error = fate(FCNTL, CALLER, NULL);
    if (error > 0) FAIL(error);
    return next(fd, command, argument);
}

/* Linux has closed the descriptor, whatever close says. */
int close(int fd) {
    static int (*next)(int);
    if (!next) next = REAL(close);
    int error = fate(CLOSE, CALLER, NULL);
    int result = next(fd);
    if (error > 0) FAIL(error);
    return result;
}

/* Connecting goes on after a signal. */
int connect(int fd, const struct sockaddr *address, socklen_t length) {
    static __typeof__(&connect) next;
    if (!next) next = REAL(connect);
    int error = fate(CONNECT, CALLER, NULL);
    if (error > 0 && error != EINTR) FAIL(error);
    int result = next(fd, address, length);
    if (error > 0) FAIL(error);
    return result;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static __typeof__(&getaddrinfo) next;
    if (!next) next = REAL(getaddrinfo);
    int error = fate(GETADDRINFO, CALLER, NULL);
    const char *addresses = getenv("EVWS_ADDRESSES");
    if (error <= 0 && addresses && is_ready && is_engine(CALLER)) {
        char copy[1024], *at = copy, *address;
        snprintf(copy, sizeof copy, "%s", addresses);
        *found = NULL;
        /* freeaddrinfo(3) follows the list, wherever its parts are from. */
        for (struct addrinfo **end = found; (address = strsep(&at, ","));) {
            int code = next(address, service, hints, end);
            if (code) return code;
            while (*end) end = &(*end)->ai_next;
        }
        return 0;
    }
    if (error <= 0) return next(node, service, hints, found);
    errno = error;
    return error == ENOMEM ? EAI_MEMORY : error == EAGAIN ? EAI_AGAIN : EAI_SYSTEM;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *with, void *(*run)(void *), void *argument) {
    static __typeof__(&pthread_create) next;
    if (!next) next = REAL(pthread_create);
    int error = fate(PTHREAD_CREATE, CALLER, NULL);
    return error > 0 ? error : next(thread, with, run, argument);
}

#define MOVE(NUMBER, name, declared, short_passed, passed, length)  \
    ssize_t name declared {                                         \
        static __typeof__(&name) next;                              \
        size_t most = 0;                                            \
        if (!next) next = REAL(name);                               \
        int error = fate(NUMBER, CALLER, &most);                    \
        if (error > 0) FAIL(error);                                 \
        if (error == SHORT && most < (length)) return next short_passed; \
        return next passed;                                         \
    }

MOVE(READ, read, (int fd, void *p, size_t n), (fd, p, most), (fd, p, n), n)
MOVE(WRITE, write, (int fd, const void *p, size_t n), (fd, p, most), (fd, p, n), n)
MOVE(RECV, recv, (int fd, void *p, size_t n, int flags), (fd, p, most, flags), (fd, p, n, flags), n)
MOVE(SEND, send, (int fd, const void *p, size_t n, int flags), (fd, p, most, flags), (fd, p, n, flags), n)

/* A message of `most` bytes in the parts of a longer one. */
static struct msghdr shortened(const struct msghdr *whole, struct iovec *parts, size_t room, size_t most) {
    struct msghdr message = *whole;
    size_t count = 0;
    for (; most && count < room && count < (size_t)whole->msg_iovlen; count++) {
        parts[count] = whole->msg_iov[count];
        if (parts[count].iov_len > most) parts[count].iov_len = most;
        most -= parts[count].iov_len;
    }
    message.msg_iov = parts;
    message.msg_iovlen = count;
    return message;
}

ssize_t recvmsg(int fd, struct msghdr *whole, int flags) {
    static __typeof__(&recvmsg) next;
    size_t most = 0;
    if (!next) next = REAL(recvmsg);
    int error = fate(RECVMSG, CALLER, &most);
    if (error > 0) FAIL(error);
    if (error != SHORT) return next(fd, whole, flags);
    struct iovec parts[64];
    struct msghdr message = shortened(whole, parts, 64, most);
    return next(fd, &message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *whole, int flags) {
    static __typeof__(&sendmsg) next;
    size_t most = 0;
    if (!next) next = REAL(sendmsg);
    int error = fate(SENDMSG, CALLER, &most);
    if (error > 0) FAIL(error);
    if (error != SHORT) return next(fd, whole, flags);
    struct iovec parts[64];
    struct msghdr message = shortened(whole, parts, 64, most);
    return next(fd, &message, flags);
}
