/* Heap::used(): how many octets of malloc(3) are in use in this process, the kernel's mappings included. VmRSS has also
 * what was freed and is kept, which depends on where the blocks lay. Built and loaded by bench/lib/Heap.pm. */
#define PERL_NO_GET_CONTEXT
#include <EXTERN.h>
#include <perl.h>
#include <XSUB.h>
#include <malloc.h>

XS_EXTERNAL(heap_used)
{
    dXSARGS;
    PERL_UNUSED_VAR(items);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();
#else
    struct mallinfo info = mallinfo();
#endif
    XSprePUSH;
    EXTEND(SP, 1);
    mPUSHn((double)info.uordblks + (double)info.hblkhd);
    XSRETURN(1);
}
