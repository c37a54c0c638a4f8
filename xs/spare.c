/* The scalars that callbacks get as $_[0] and $_[1] most often. A context keeps
 * one of each, and uses it again if the program has not kept it.
 */
#include "websockets.h"

#define WS_OWN_BUFFER 4096                      /* bytes; for less the engine is not asked: it would rather have it copied */
#define WS_SPARE_PAYLOAD_LIMIT (256 * 1024)     /* bytes; a larger buffer is not kept */

/* A reference to `target`, in the context's spare scalar when it is there. */
SV *ws_target_rv(pTHX_ ws_context *ctx, SV *target)
{
    SV *rv = ctx->spare_rv;

    if (!rv)
        return newRV_inc(target);
    ctx->spare_rv = NULL;
    SvRV_set(rv, SvREFCNT_inc_simple_NN(target));
    SvROK_on(rv);
    return rv;
}

/* `rv` was $_[0]. It is used again only if nobody can tell: no reference to
 * it was kept, and it is still what it was (not weakened, blessed, tied...). */
void ws_recycle_rv(pTHX_ ws_context *ctx, SV *rv, SV *target)
{
    const U32 special = SVs_TEMP | SVs_PADTMP | SVs_GMG | SVs_SMG | SVs_RMG | SVf_READONLY;

    if (ctx->spare_rv || SvREFCNT(rv) != 1 || SvTYPE(rv) >= SVt_PV || !SvROK(rv) || SvWEAKREF(rv)
        || SvRV(rv) != target || (SvFLAGS(rv) & special)) {
        SvREFCNT_dec(rv);
        return;
    }
    SvROK_off(rv);
    SvRV_set(rv, NULL);
    ctx->spare_rv = rv;
    SvREFCNT_dec(target);
}

SV *ws_payload_sv(pTHX_ ws_context *ctx, evws_bytes payload)
{
    SV *sv = ctx->spare_payload;
    char *buffer = payload.length >= WS_OWN_BUFFER && ctx->globals->gives_memory
                 ? (char *)evws_take_payload(ctx->engine) : NULL;

    if (!sv && !buffer)
        return ws_peer_sv(aTHX_ payload);
    ctx->spare_payload = NULL;
    if (!sv)
        sv = newSV_type(SVt_PV);
#ifdef SV_HAS_TRAILING_NUL
    if (buffer)
        sv_usepvn_flags(sv, buffer, payload.length, SV_HAS_TRAILING_NUL);
    else
#endif
        sv_setpvn(sv, WS_TEXT(payload), payload.length);
    SvUTF8_off(sv);
    SvTAINTED_on(sv);
    return sv;
}

/* `sv` was $_[1]. sv_setpvn copes with a buffer that copy-on-write shares. */
void ws_recycle_payload(pTHX_ ws_context *ctx, SV *sv)
{
    U32 allowed = SVf_POK | SVp_POK | SVf_UTF8;

#ifdef SVf_IsCOW
    allowed |= SVf_IsCOW;
#endif
    if (!ctx->spare_payload && SvREFCNT(sv) == 1 && (SvFLAGS(sv) & ~allowed) == SVt_PV
        && SvLEN(sv) <= WS_SPARE_PAYLOAD_LIMIT)
        ctx->spare_payload = sv;
    else
        SvREFCNT_dec(sv);
}
