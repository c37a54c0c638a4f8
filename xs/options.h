/* The options of all methods that have any, and those in the hash of `deflate`: one table.
 *
 * A row says how the code calls the option, its name, where it may be given, what its value is, and which field of
 * the engine's options it lands in. Reading, checking and the croaks follow from the row: see options.c.
 */
#ifndef WS_OPTIONS_H
#define WS_OPTIONS_H

/* The methods that an option belongs to. deflate is an option whose hash has options. */
enum {
    WS_FOR_NEW = 1, WS_FOR_CONNECT = 2, WS_FOR_LISTEN = 4, WS_FOR_ADOPT = 8, WS_FOR_SHUTDOWN = 16, WS_FOR_DEFLATE = 32,
    WS_FOR_PREPARE = 64, WS_FOR_BROADCAST = 128, WS_FOR_PUBLISH = 256, WS_FOR_SUBSCRIBE = 512, WS_FOR_TOPIC = 1024,
    WS_FOR_UPGRADES = WS_FOR_LISTEN | WS_FOR_ADOPT,
    WS_FOR_CONNECTIONS = WS_FOR_CONNECT | WS_FOR_UPGRADES,
    WS_FOR_TLS = WS_FOR_NEW | WS_FOR_CONNECT | WS_FOR_LISTEN,
    WS_FOR_MESSAGES = WS_FOR_PREPARE | WS_FOR_BROADCAST | WS_FOR_PUBLISH,
    /* What is said of one beside that. */
    WS_NO_UNDEF = 1 << 16,                      /* listen does not take an undef for "not given" */
    WS_NEEDS_TLS = 1 << 17,                     /* of no use to a listener without a certificate */
    WS_NOT_WITH_FD = 1 << 18, WS_NOT_WITH_PATH = 1 << 19,
    WS_NOT_UPGRADED = 1 << 20,                  /* of no use when the upgrade is over */
    WS_NEVER_UNDEF = 1 << 21                    /* nor does any other method */
};

/* What a value is; `otherwise` counts where it is not given:
 *
 *   AS_FLAG(otherwise)                  a bool
 *   AS_SECONDS(otherwise)               a double, of at least 0
 *   AS_BYTES(otherwise)                 a uint64_t; fractions are rounded up, as 0 would mean no limit
 *   AS_COUNT(otherwise, least, most)    a whole number, an integer of any size
 *   AS_WHOLE_BYTES(otherwise)           a uint64_t; there are no fractions
 *   AS_CHECKED(otherwise)               a number whose range the engine knows, from 1 to 254; a uint8_t
 *   AS_WORD(otherwise, word, ...)       one of up to four words; a uint32_t, its place in the list, which begins at 0
 *   AS_RATE                             a number above 0, or [rate, burst], or 0 for none: a double[2]
 *   AS_STRING                           an evws_bytes, whose data is NULL if there is none
 *   AS_NAMES                            an evws_strings, of an array or of a text with commas
 *   AS_HEADERS                          an evws_headers, of a hash
 *   AS_IS                               something that is read by code of its own
 *
 * IN(settings, field) is a field of evws_settings, NOWHERE is one that the code asks for by itself.
 *
 * The defaults of threshold and level are measured (docs/performance.md). A JSON message of 256 bytes that stands for
 * itself loses four in ten, a shorter one so little that the packet's headers decide. Level 1 of zlib-rs has fixed codes
 * only, with which noise grows; beyond 2 a few percent cost much time.
 */
#define WS_OPTIONS(O) \
    O(URL,               "url",               WS_FOR_CONNECT, AS_STRING, IN(connect_options, url)) \
    O(PROTOCOL,          "protocol",          WS_FOR_CONNECTIONS | WS_NO_UNDEF, AS_NAMES, IN(settings, protocols)) \
    O(HEADERS,           "headers",           WS_FOR_CONNECTIONS | WS_NOT_UPGRADED, AS_HEADERS, IN(settings, headers)) \
    O(MAX_MESSAGE_SIZE,  "max_message_size",  WS_FOR_CONNECTIONS, AS_BYTES(0), IN(settings, max_message_size)) \
    O(CLOSE_TIMEOUT,     "close_timeout",     WS_FOR_CONNECTIONS, AS_SECONDS(5), IN(limits, close_timeout)) \
    O(PING_INTERVAL,     "ping_interval",     WS_FOR_CONNECTIONS, AS_SECONDS(30), IN(limits, ping_interval)) \
    O(PONG_TIMEOUT,      "pong_timeout",      WS_FOR_CONNECTIONS, AS_SECONDS(20), IN(limits, pong_timeout)) \
    O(IDLE_TIMEOUT,      "idle_timeout",      WS_FOR_CONNECTIONS, AS_SECONDS(0), IN(limits, idle_timeout)) \
    O(MAX_LIFETIME,      "max_lifetime",      WS_FOR_CONNECTIONS, AS_SECONDS(0), IN(limits, max_lifetime)) \
    O(CONNECT_TIMEOUT,   "connect_timeout",   WS_FOR_CONNECT, AS_SECONDS(0), IN(connect_options, connect_timeout)) \
    O(HANDSHAKE_TIMEOUT, "handshake_timeout", WS_FOR_UPGRADES | WS_NOT_UPGRADED, AS_SECONDS(10), \
                                              IN(upgrade_options, handshake_timeout)) \
    O(MAX_HEADER_SIZE,   "max_header_size",   WS_FOR_CONNECTIONS | WS_NOT_UPGRADED, AS_BYTES(16384), \
                                              IN(limits, max_header_size)) \
    O(MAX_HEADERS,       "max_headers",       WS_FOR_CONNECTIONS | WS_NOT_UPGRADED, AS_COUNT(100, 0, U32_MAX), \
                                              IN(limits, max_headers)) \
    O(MAX_FRAGMENTS,     "max_fragments",     WS_FOR_CONNECTIONS, AS_COUNT(65536, 0, U32_MAX), IN(limits, max_fragments)) \
    O(MAX_SEND_QUEUE,    "max_send_queue",    WS_FOR_CONNECTIONS, AS_BYTES(0), IN(limits, max_send_queue)) \
    O(SEND_QUEUE_POLICY, "send_queue_policy", WS_FOR_CONNECTIONS | WS_NEVER_UNDEF, AS_WORD(0, "close", "croak", "drop"), \
                                              IN(limits, send_queue_policy)) \
    O(SEND_HIGH_WATER,   "send_high_water",   WS_FOR_CONNECTIONS, AS_BYTES(0), IN(limits, send_high_water)) \
    O(SEND_LOW_WATER,    "send_low_water",    WS_FOR_CONNECTIONS, AS_BYTES(0), IN(limits, send_low_water)) \
    O(MAX_MESSAGE_RATE,  "max_message_rate",  WS_FOR_CONNECTIONS, AS_RATE, IN(limits, max_message_rate)) \
    O(MAX_BYTE_RATE,     "max_byte_rate",     WS_FOR_CONNECTIONS, AS_RATE, IN(limits, max_byte_rate)) \
    O(LIMITS,            "limits",            WS_FOR_CONNECTIONS | WS_NEVER_UNDEF, AS_WORD(1, "public"), NOWHERE) \
    O(VALIDATE_UTF8,     "validate_utf8",     WS_FOR_CONNECTIONS, AS_FLAG(TRUE), IN(settings, validate_utf8)) \
    O(UTF8,              "utf8",              WS_FOR_CONNECTIONS | WS_FOR_MESSAGES, AS_FLAG(FALSE), NOWHERE) \
    O(DEFLATE,           "deflate",           WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(PORT,              "port",              WS_FOR_LISTEN | WS_NOT_WITH_FD | WS_NOT_WITH_PATH, AS_COUNT(0, 0, 65535), \
                                              IN(listen_options, port)) \
    O(HOST,              "host",              WS_FOR_LISTEN | WS_NOT_WITH_FD | WS_NOT_WITH_PATH | WS_NO_UNDEF, AS_NAMES, \
                                              IN(listen_options, hosts)) \
    O(REUSE_PORT,        "reuse_port",        WS_FOR_LISTEN | WS_NOT_WITH_FD | WS_NOT_WITH_PATH, AS_FLAG(FALSE), \
                                              IN(listen_options, reuse_port)) \
    O(BACKLOG,           "backlog",           WS_FOR_LISTEN | WS_NOT_WITH_FD, AS_COUNT(0, 0, I32_MAX), \
                                              IN(listen_options, backlog)) \
    O(PATH,              "path",              WS_FOR_LISTEN | WS_NOT_WITH_FD | WS_NO_UNDEF, AS_STRING, \
                                              IN(listen_options, path)) \
    O(MAX_CONNECTIONS,   "max_connections",   WS_FOR_LISTEN, AS_COUNT(0, 0, I32_MAX), IN(listen_options, max_connections)) \
    O(MAX_CONNECTIONS_PER_ADDRESS, "max_connections_per_address", WS_FOR_LISTEN, AS_COUNT(0, 0, I32_MAX), \
                                              IN(listen_options, max_connections_per_address)) \
    O(MAX_HANDSHAKES,    "max_handshakes",    WS_FOR_LISTEN, AS_COUNT(1024, 0, I32_MAX), IN(listen_options, max_handshakes)) \
    O(MODE,              "mode",              WS_FOR_LISTEN, AS_IS, NOWHERE) \
    O(FD,                "fd",                WS_FOR_LISTEN, AS_IS, NOWHERE) \
    O(NAME,              "name",              WS_FOR_LISTEN | WS_NO_UNDEF, AS_STRING, NOWHERE) \
    O(LOOP,              "loop",              WS_FOR_NEW, AS_IS, NOWHERE) \
    O(PROXY,             "proxy",             WS_FOR_NEW, AS_STRING, NOWHERE) \
    O(PROXY_PORT,        "proxy_port",        WS_FOR_NEW, AS_COUNT(0, 0, 65535), NOWHERE) \
    O(SSL_INIT,          "ssl_init",          WS_FOR_NEW, AS_IS, NOWHERE) \
    O(SSL_CERT,          "ssl_cert",          WS_FOR_TLS | WS_NO_UNDEF, AS_STRING, NOWHERE) \
    O(SSL_KEY,           "ssl_key",           WS_FOR_TLS | WS_NO_UNDEF, AS_STRING, NOWHERE) \
    O(SSL_CA,            "ssl_ca",            WS_FOR_TLS | WS_NO_UNDEF, AS_STRING, NOWHERE) \
    O(SSL_VERIFY,        "ssl_verify",        WS_FOR_CONNECT, AS_FLAG(TRUE), IN(client_tls, verify)) \
    O(SSL_SERVER_NAME,   "ssl_server_name",   WS_FOR_CONNECT, AS_STRING, IN(client_tls, server_name)) \
    O(SSL_VERIFY_CLIENT, "ssl_verify_client", WS_FOR_LISTEN, AS_IS, NOWHERE) \
    O(SSL_CLIENT_CA,     "ssl_client_ca",     WS_FOR_LISTEN | WS_NEEDS_TLS | WS_NO_UNDEF, AS_STRING, \
                                              IN(server_tls, client_ca)) \
    O(SSL_SNI,           "ssl_sni",           WS_FOR_LISTEN | WS_NEEDS_TLS, AS_IS, NOWHERE) \
    O(SSL_ALPN,          "ssl_alpn",          WS_FOR_CONNECT | WS_FOR_LISTEN | WS_NEEDS_TLS | WS_NO_UNDEF, AS_NAMES, NOWHERE) \
    O(FH,                "fh",                WS_FOR_ADOPT, AS_IS, NOWHERE) \
    O(ENV,               "env",               WS_FOR_ADOPT | WS_NOT_UPGRADED, AS_IS, NOWHERE) \
    O(INITIAL_DATA,      "initial_data",      WS_FOR_ADOPT, AS_IS, NOWHERE) \
    O(ROLE,              "role",              WS_FOR_ADOPT, AS_WORD(1, "client", "server"), NOWHERE) \
    O(UPGRADED,          "upgraded",          WS_FOR_ADOPT, AS_FLAG(FALSE), NOWHERE) \
    O(ORIGINS,           "origins",           WS_FOR_UPGRADES | WS_NOT_UPGRADED, AS_IS, NOWHERE) \
    O(HOSTS,             "hosts",             WS_FOR_UPGRADES | WS_NOT_UPGRADED, AS_IS, NOWHERE) \
    O(TRUSTED_PROXIES,   "trusted_proxies",   WS_FOR_UPGRADES | WS_NOT_UPGRADED, AS_IS, NOWHERE) \
    O(PROXY_PROTOCOL,    "proxy_protocol",    WS_FOR_LISTEN | WS_NO_UNDEF, AS_IS, NOWHERE) \
    O(TIMEOUT,           "timeout",           WS_FOR_SHUTDOWN, AS_SECONDS(5), NOWHERE) \
    O(CODE,              "code",              WS_FOR_SHUTDOWN, AS_IS, NOWHERE) \
    O(REASON,            "reason",            WS_FOR_SHUTDOWN, AS_IS, NOWHERE) \
    O(CB,                "cb",                WS_FOR_SHUTDOWN, AS_IS, NOWHERE) \
    O(BINARY,            "binary",            WS_FOR_MESSAGES, AS_FLAG(FALSE), NOWHERE) \
    O(COMPRESS,          "compress",          WS_FOR_MESSAGES, AS_FLAG(TRUE), NOWHERE) \
    O(EXCEPT,            "except",            WS_FOR_BROADCAST | WS_FOR_PUBLISH, AS_IS, NOWHERE) \
    O(TO,                "to",                WS_FOR_BROADCAST, AS_IS, NOWHERE) \
    O(KEY,               "key",               WS_FOR_PUBLISH, AS_STRING, NOWHERE) \
    O(ONLY,              "only",              WS_FOR_PUBLISH, AS_IS, NOWHERE) \
    O(POSITION,          "position",          WS_FOR_PUBLISH, AS_IS, NOWHERE) \
    O(LOCAL,             "local",             WS_FOR_PUBLISH | WS_FOR_SUBSCRIBE, AS_FLAG(FALSE), NOWHERE) \
    O(FRAME,             "frame",             WS_FOR_PUBLISH | WS_FOR_TOPIC, AS_IS, NOWHERE) \
    O(ON_SLOW,           "on_slow",           WS_FOR_SUBSCRIBE | WS_FOR_TOPIC, \
                                              AS_WORD(0, "close", "drop_new", "drop_old", "latest"), NOWHERE) \
    O(SINCE,             "since",             WS_FOR_SUBSCRIBE, AS_IS, NOWHERE) \
    O(HISTORY,           "history",           WS_FOR_TOPIC, AS_COUNT(0, 0, U32_MAX), IN(topic_options, history)) \
    O(MAX_AGE,           "max_age",           WS_FOR_TOPIC, AS_SECONDS(0), IN(topic_options, max_age)) \
    O(SERVER_NO_CONTEXT_TAKEOVER, "server_no_context_takeover", WS_FOR_DEFLATE, AS_FLAG(FALSE), NOWHERE) \
    O(CLIENT_NO_CONTEXT_TAKEOVER, "client_no_context_takeover", WS_FOR_DEFLATE, AS_FLAG(FALSE), NOWHERE) \
    O(SERVER_MAX_WINDOW_BITS, "server_max_window_bits", WS_FOR_DEFLATE, AS_CHECKED(0), \
                                              IN(deflate_options, server_max_window_bits)) \
    O(CLIENT_MAX_WINDOW_BITS, "client_max_window_bits", WS_FOR_DEFLATE, AS_CHECKED(0), \
                                              IN(deflate_options, client_max_window_bits)) \
    O(THRESHOLD,         "threshold",         WS_FOR_DEFLATE, AS_WHOLE_BYTES(256), IN(deflate_options, threshold)) \
    O(LEVEL,             "level",             WS_FOR_DEFLATE, AS_CHECKED(2), \
                                              IN(deflate_options, level)) \
    O(MEMORY,            "memory",            WS_FOR_DEFLATE, AS_WHOLE_BYTES(0), IN(deflate_options, memory)) \
    /* The callbacks, in the order of WS_ON_*. */ \
    O(ON_CONNECT,        "on_connect",        WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_MESSAGE,        "on_message",        WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_CLOSE,          "on_close",          WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_ERROR,          "on_error",          WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_PONG,           "on_pong",           WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_DRAIN,          "on_drain",          WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_LIMIT,          "on_limit",          WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_DROP,           "on_drop",           WS_FOR_CONNECTIONS, AS_IS, NOWHERE) \
    O(ON_HANDSHAKE,      "on_handshake",      WS_FOR_UPGRADES | WS_NOT_UPGRADED, AS_IS, NOWHERE) \
    O(ON_REQUEST,        "on_request",        WS_FOR_LISTEN, AS_IS, NOWHERE) \
    O(ON_REJECT,         "on_reject",         WS_FOR_LISTEN, AS_IS, NOWHERE)

/* What `limits => 'public'` stands for where it is not given: the option, for which methods, and its value; of a rate
 * also its burst. The same table is in EV::Websockets::Limits. */
#define WS_PUBLIC_LIMITS(P) \
    P(MAX_MESSAGE_SIZE,            WS_FOR_CONNECTIONS, 1048576, 0) \
    P(MAX_FRAGMENTS,               WS_FOR_CONNECTIONS, 4096, 0) \
    P(MAX_SEND_QUEUE,              WS_FOR_CONNECTIONS, 1048576, 0) \
    P(CONNECT_TIMEOUT,             WS_FOR_CONNECT, 30, 0) \
    P(MAX_MESSAGE_RATE,            WS_FOR_UPGRADES, 100, 1000) \
    P(MAX_BYTE_RATE,               WS_FOR_UPGRADES, 1048576, 4194304) \
    P(IDLE_TIMEOUT,                WS_FOR_UPGRADES, 3600, 0) \
    P(MAX_LIFETIME,                WS_FOR_UPGRADES, 86400, 0) \
    P(MAX_CONNECTIONS,             WS_FOR_LISTEN, 10000, 0) \
    P(MAX_CONNECTIONS_PER_ADDRESS, WS_FOR_LISTEN, 100, 0)

#define WS_OPTION_ID(id, ...) WS_OPT_##id,
typedef enum { WS_OPTIONS(WS_OPTION_ID) WS_OPT_COUNT } ws_option;

/* The structures that options land in. */
typedef enum {
    WS_IN_NONE, WS_IN_settings, WS_IN_limits, WS_IN_connect_options, WS_IN_upgrade_options, WS_IN_listen_options,
    WS_IN_client_tls, WS_IN_server_tls, WS_IN_deflate_options, WS_IN_topic_options
} ws_structure;

/* The options of one call. Values are mortal copies without magic; NULL: not given. */
typedef struct ws_options {
    const char *method;                     /* as messages name it */
    SV *value[WS_OPT_COUNT];
} ws_options;

const char *ws_option_name(ws_option which);
U32 ws_option_optional(pTHX_ const ws_options *o, ws_option which);
void ws_options_parse(pTHX_ ws_options *o, U32 method, SV **args, I32 count);
void ws_options_of_hash(pTHX_ ws_options *o, const char *what, U32 method, HV *hash, ws_options *outer);
void ws_options_inherit(pTHX_ ws_options *o, HV *settings);
void ws_options_read(pTHX_ const ws_options *o, ws_structure structure, void *out);
bool ws_option_given(pTHX_ const ws_options *o, ws_option which);
const char *ws_option_with(pTHX_ const ws_options *o, U32 mark);
void ws_option_must_be(pTHX_ const ws_options *o, ws_option which, const char *expected) __attribute__noreturn__;
bool ws_option_flag(pTHX_ const ws_options *o, ws_option which);
NV ws_option_number(pTHX_ const ws_options *o, ws_option which);
U32 ws_option_word(pTHX_ const ws_options *o, ws_option which);
evws_bytes ws_option_string(pTHX_ const ws_options *o, ws_option which);
evws_bytes ws_option_octets(pTHX_ const ws_options *o, ws_option which);
SV *ws_option_code(pTHX_ const ws_options *o, ws_option which);
HV *ws_option_hash(pTHX_ const ws_options *o, ws_option which);
SV *ws_option_names(pTHX_ const ws_options *o, ws_option which);
SV *ws_option_entries(pTHX_ const ws_options *o, ws_option which, AV *patterns);
U32 ws_options_wants(pTHX_ const ws_options *o);
ws_callbacks *ws_options_callbacks(pTHX_ const ws_options *o, AV *origins);
HV *ws_options_settings(pTHX_ const ws_options *o);

#endif
