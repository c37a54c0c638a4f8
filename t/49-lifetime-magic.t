use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Data::Dumper ();
use Storable ();
use EV;
use EV::Websockets;
use Pair;
use Run;

# What an object leads to hangs on its scalar as magic, with a pointer that one
# scalar alone may free: not a copy, and not what stands in for it.

our $alias;

# An alias of the object's scalar, localized and restored.
sub localize {
    my ($object) = @_;
    *alias = $object;
    { local $alias; }
    { local $alias = 'something else'; }
    undef *alias;
    return;
}

# perl gives the scalar that `local` puts there the same magic, and freed it: the
# context was destroyed, and a connection or a handshake was freed twice.
subtest 'local on an alias' => sub {
    my $pair = Pair->open;
    localize($pair->context);
    $pair->c->send('still there');
    run_until(sub { $pair->server->count('message') }, 'the context goes on');
    localize($pair->c);
    is $pair->c->state, 'connected', 'an open connection';
    $pair->shut;
    localize($pair->c);
    is $pair->c->state, 'closed', 'a closed connection';
    $pair->c->stash->{here} = 1;
    is $pair->c->stash->{here}, 1, '... with its stash';

    my ($kept, $told);
    my $port = $pair->context->listen(host => '127.0.0.1', on_handshake => sub { $kept = $_[1]; localize($kept); return $kept });
    my $conn = $pair->context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub { $told = 'connected' },
        on_error   => sub { $told = $_[1] },
    );
    wait_until(sub { $kept });
    ok $kept->is_pending, 'a handshake waits';
    ok $kept->accept, '... and is accepted';
    run_until(sub { $told }, '... and its client is told');
    is $told, 'connected', '... so';
};

# An element of an array that is the object's scalar.
subtest 'local on an element' => sub {
    my $pair = Pair->open;
    my $list = sub { \@_ }->(${ $pair->c }, ${ $pair->context });
    { local $list->[0]; local $list->[1]; }
    $pair->c->send('still there');
    run_until(sub { $pair->server->count('message') }, 'both go on');
};

# The bug: perl calls DESTROY on copies, too, which croaked "(in cleanup) the invocant is not ...".
subtest 'copies' => sub {
    my $pair = Pair->open;
    my %copy = (
        'Storable'     => sub { Storable::dclone($_[0]) },
        'Data::Dumper' => sub { local $Data::Dumper::Indent = 0; my $VAR1; eval Data::Dumper::Dumper($_[0]); $VAR1 },
    );
    $copy{Clone} = \&Clone::clone if eval { require Clone };
    for my $how (sort keys %copy) {
        for my $object ($pair->c, $pair->context) {
            my $copy = $copy{$how}->($object);
            my $class = ref $object;
            is ref($copy), $class, "a copy by $how";
            croaks_like { $class eq 'EV::Websockets::Context' ? $copy->connections : $copy->send('x') }
                qr/the invocant is not an $class object/, '... can do nothing';
            undef $copy;
            is_deeply [ warned() ], [], '... and goes without a word';
        }
    }
    $pair->c->send('still there');
    run_until(sub { $pair->server->count('message') }, 'what was copied goes on');
    croaks_like { EV::Websockets::Context::DESTROY('text') } qr/the invocant is not/, 'DESTROY of something else';
};

# The bug: called by the program, CLONE put new globals in the place of those that
# every context knows, and the next callback found none.
subtest 'CLONE by hand' => sub {
    my $pair = Pair->open;
    EV::Websockets->CLONE if EV::Websockets->can('CLONE');
    $pair->c->send($_) for 1 .. 3;
    run_until(sub { $pair->server->count('message') == 3 }, 'callbacks are called');
};

finish();
