/* EV::Websockets::Context::adopt: from a Perl handle, or a PSGI environment,
 * to a call of the engine.
 *
 * The handle is looked at last, and changed only when nothing else can croak:
 * for some servers, reading psgix.io from the environment gives the connection
 * out of their hands.
 */
#include "websockets.h"

#include <sys/socket.h>
#include <sys/stat.h>

/* ---- the handle ---- */

/* NULL: it is none. Not sv_2io, which croaks in its own words then. */
static IO *io_of(pTHX_ SV *fh)
{
    SV *glob = SvROK(fh) ? SvRV(fh) : fh;

    PERL_UNUSED_CONTEXT;
    if (SvTYPE(glob) == SVt_PVIO)
        return (IO *)glob;
    return isGV_with_GP(glob) ? GvIO((GV *)glob) : NULL;
}

/* NULL: it is no open handle. */
PerlIO *ws_file_of(pTHX_ SV *fh)
{
    IO *io = io_of(aTHX_ fh);

    return io ? IoIFP(io) : NULL;
}

/* Handles whose bytes are not those of their descriptor. */
static void refuse_indirect(pTHX_ SV *fh)
{
    IO *io = io_of(aTHX_ fh);

    if (sv_isobject(fh) && sv_derived_from(fh, "IO::Socket::SSL"))
        croak("adopt: fh is an IO::Socket::SSL handle, whose TLS session cannot be taken over");
    if (sv_isobject(fh) && sv_derived_from(fh, "AnyEvent::Handle"))
        croak("Invalid filehandle: of an AnyEvent::Handle give its fh, and its rbuf as initial_data, unless it has TLS");
    if (io && SvRMAGICAL((SV *)io) && mg_find((SV *)io, PERL_MAGIC_tiedscalar))
        croak("adopt: fh is a tied handle, whose bytes are not those of a descriptor");
}

static IO *socket_of(pTHX_ SV *fh)
{
    struct stat status;
    IO *io;

    refuse_indirect(aTHX_ fh);
    io = io_of(aTHX_ fh);
    if (!io || !IoIFP(io) || PerlIO_fileno(IoIFP(io)) < 0)
        croak("Invalid filehandle");
    if (fstat(PerlIO_fileno(IoIFP(io)), &status) != 0 || !S_ISSOCK(status.st_mode))
        croak("adopt: file handle is not a socket");
    return io;
}

/* Appends what Perl has read from the descriptor and nobody has from the handle.
 * Reading no more than is buffered does not touch the descriptor. There can be
 * several buffers, one below the other: ungetc and its kin make another. */
static void take_buffered(pTHX_ PerlIO *file, SV *data)
{
    SSize_t count;

    while (PerlIO_fast_gets(file) && (count = PerlIO_get_cnt(file)) > 0) {
        char *end = SvGROW(data, SvCUR(data) + (STRLEN)count + 1) + SvCUR(data);

        count = PerlIO_read(file, end, (Size_t)count);
        if (count <= 0)
            return;
        SvCUR_set(data, SvCUR(data) + (STRLEN)count);
        *SvEND(data) = '\0';
    }
}

/* What was printed to the handle goes out before anything of ours. Layers can be
 * Perl code (PerlIO::via), so the handle may be closed now. */
static void flush(pTHX_ IO *io)
{
    if (IoOFP(io) && PerlIO_flush(IoOFP(io)) != 0)
        croak("Failed to adopt socket: what was printed to it cannot be sent: %s", Strerror(errno));
    if (!IoIFP(io))
        croak("Invalid filehandle");
}

/* ---- options ---- */

enum { ROLE_CLIENT, ROLE_SERVER };          /* as in the table of options */

/* From a PSGI environment, as Perl reads it. */
static void env_option(pTHX_ HV *env, evws_upgrade_request *out)
{
    SV *arg = sv_2mortal(newRV_inc((SV *)env));
    AV *part = ws_array(ws_call_helper(aTHX_ "EV::Websockets::Options::request_of", &arg, 1));

    out->method = ws_bytes(aTHX_ ws_element(aTHX_ part, 0));
    out->target = ws_bytes(aTHX_ ws_element(aTHX_ part, 1));
    out->version = ws_bytes(aTHX_ ws_element(aTHX_ part, 2));
    WS_LIST_GIVE(ws_headers_of_hash(aTHX_ "adopt: env", ws_hash(ws_element(aTHX_ part, 3))), out->headers);
}

/* The kind of a socket whose upgrade is over, or 0. */
static evws_adopt_kind upgraded_option(pTHX_ const ws_options *o)
{
    const bool upgraded = ws_option_flag(aTHX_ o, WS_OPT_UPGRADED);

    if (ws_option_word(aTHX_ o, WS_OPT_ROLE) == ROLE_SERVER)
        return upgraded ? EVWS_ADOPT_AS_SERVER : 0;
    if (ws_option_given(aTHX_ o, WS_OPT_UPGRADED) && !upgraded)
        croak("adopt: role 'client' is for a socket whose upgrade is over, and upgraded is false");
    return EVWS_ADOPT_AS_CLIENT;
}

/* Without a request there is nothing that these could be for. */
static void refuse_with_upgraded(pTHX_ const ws_options *o, const evws_adopt_options *options)
{
    const char *useless = ws_option_with(aTHX_ o, WS_NOT_UPGRADED);

    if (!useless && options->upgrade.settings.deflate.enabled)
        useless = "deflate";
    if (useless)
        croak("adopt: %s is for an upgrade, and that of this socket is over", useless);
    if (options->upgrade.settings.protocols.count > 1)
        croak("adopt: the upgrade of this socket is over: protocol must be the one that was agreed on");
}

/* Returns the patterns among the origins, which are the caller's to keep. */
static AV *adopt_options(pTHX_ ws_options *o, evws_adopt_options *out)
{
    HV *env = ws_option_hash(aTHX_ o, WS_OPT_ENV);
    AV *patterns;

    Zero(out, 1, evws_adopt_options);
    out->initial_data = ws_option_octets(aTHX_ o, WS_OPT_INITIAL_DATA);
    patterns = ws_option_upgrade(aTHX_ o, &out->upgrade);
    out->kind = upgraded_option(aTHX_ o);
    if (out->kind) {
        refuse_with_upgraded(aTHX_ o, out);
        return NULL;
    }
    out->kind = env ? EVWS_ADOPT_REQUESTED : EVWS_ADOPT_CLIENT;
    if (env)
        env_option(aTHX_ env, &out->request);
    return patterns;
}

/* Mortal. */
static SV *handle_option(pTHX_ const ws_options *o)
{
    SV *fh;

    if (ws_option_given(aTHX_ o, WS_OPT_FH))
        return o->value[WS_OPT_FH];
    fh = ws_entry(aTHX_ ws_option_hash(aTHX_ o, WS_OPT_ENV), "psgix.io");
    if (!fh)
        croak("adopt: env has no psgix.io: this server does not hand out its sockets; or give fh");
    return fh;
}

/* What was buffered goes back when the socket is refused: nothing happened. */
static void adopt_socket(pTHX_ ws_context *ctx, evws_adopt_options *options, IO *io, uint64_t *id)
{
    SV *data = sv_2mortal(newSVpvs(""));
    const STRLEN given = options->initial_data.length;

    (void)sv_2mortal(SvREFCNT_inc_simple_NN((SV *)io));
    sv_catpvn(data, given ? (const char *)options->initial_data.data : "", given);
    flush(aTHX_ io);
    take_buffered(aTHX_ IoIFP(io), data);
    options->fd = IoIFP(io) ? PerlIO_fileno(IoIFP(io)) : -1;
    options->initial_data.data = (const uint8_t *)SvPVX(data);
    options->initial_data.length = SvCUR(data);
    if (evws_adopt(ws_context_engine(aTHX_ ctx), options, id) == EVWS_STATUS_OK)
        return;
    if (SvCUR(data) > given)
        (void)PerlIO_unread(IoIFP(io), SvPVX(data) + given, SvCUR(data) - given);
    ws_context_croak(aTHX_ ctx, "adopt", NULL);
}

SV *ws_adopt(pTHX_ ws_context *ctx, SV **args, I32 count)
{
    ws_options o;
    evws_adopt_options options;
    ws_connection *conn;
    AV *origins;
    SV *fh;
    uint64_t id;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_ADOPT, args, count);
    if (!ws_option_given(aTHX_ &o, WS_OPT_FH) && !ws_option_given(aTHX_ &o, WS_OPT_ENV))
        croak("fh parameter is required");
    if (ws_option_given(aTHX_ &o, WS_OPT_FH))
        (void)socket_of(aTHX_ o.value[WS_OPT_FH]);
    origins = adopt_options(aTHX_ &o, &options);
    ws_options_or_croak(aTHX_ ctx, &o, evws_adopt_check(ws_context_engine(aTHX_ ctx), &options));
    fh = handle_option(aTHX_ &o);
    adopt_socket(aTHX_ ctx, &options, socket_of(aTHX_ fh), &id);
    conn = ws_connection_new(aTHX_ ctx, id, ws_options_callbacks(aTHX_ &o, origins));
    conn->handle = newSVsv(fh);
    return ws_connection_opened(aTHX_ conn);
}
