use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Run;
use Test::More;

# EV::Websockets::Context->new: its options, good and bad.

isa_ok(EV::Websockets::Context->new, 'EV::Websockets::Context');
isa_ok(EV::Websockets::Context->new(loop => EV::default_loop), 'EV::Websockets::Context');
isa_ok(EV::Websockets::Context->new(loop => EV::Loop->new), 'EV::Websockets::Context');
isa_ok(EV::Websockets::Context->new(proxy => ''), 'EV::Websockets::Context');
isa_ok(EV::Websockets::Context->new(ssl_init => 1), 'EV::Websockets::Context');
isa_ok(EV::Websockets::Context->new(ssl_init => 0), 'EV::Websockets::Context');

{
    package My::Context;
    our @ISA = ('EV::Websockets::Context');
}
isa_ok(My::Context->new, 'My::Context', 'what a subclass makes');

croaks_like { EV::Websockets::Context->new('loop') }
    qr/odd number of options: key 'loop' has no value at /, 'an option without a value';
croaks_like { EV::Websockets::Context->new(loop => $_) } qr/loop/, "loop => $_"
    for 'default', 1, [], {}, bless({}, 'Nothing');

is(join('', warned()), '', 'no warning so far');
my $context = EV::Websockets::Context->new(no_such_option => 1);
isa_ok($context, 'EV::Websockets::Context', 'an unknown option is no error');
my @warnings = warned();
is(scalar @warnings, 1, 'but it warns, once');
like($warnings[0], qr/no_such_option/, 'the warning names it');

EV::Websockets::Context->new for 1 .. 50;
pass('contexts come and go');

finish();
