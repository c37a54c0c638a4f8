use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawServer;
use Run;
use Test::More;

# A die inside a callback is warned, and everything else goes on.

my $line = __LINE__ + 1;
sub dying { my ($name) = @_; return sub { die "boom in $name" } }

# Each of the six callbacks dies, at both ends; they come all the same.
{
    my %die = map { ("on_$_" => dying($_)) } @Events::NAMES;
    my $raw_closed;
    my $pair = Pair->open(listen => {%die}, connect => {%die});
    my ($server, $client) = ($pair->server, $pair->client);
    for my $round (1 .. 2) {
        $pair->c->send("question $round");
        run_until(sub { $server->count('message') == $round }, "message $round arrives");
        $pair->s->send("answer $round");
        run_until(sub { $client->count('message') == $round }, "answer $round arrives");
        $pair->c->send_ping;
        run_until(sub { $client->count('pong') == $round }, "pong $round arrives");
    }
    ok($pair->c->is_connected && $pair->s->is_connected, 'both ends are still connected');
    run_until(sub { $client->count('drain') && $server->count('drain') }, 'on_drain came');
    $pair->shut;
    is($client->order, 'connect message pong message pong close', 'every callback came');

    my %warned;
    for my $warning (warned()) {
        if ($warning =~ /\AEV::Websockets: exception in (\w+) handler: boom in (\w+) at \Q$0\E line $line\.\n\z/) {
            is($1, $2, "the warning for $2") if !$warned{$2}++;
        }
        else {
            fail("unexpected warning: $warning");
        }
    }
    is_deeply([ sort keys %warned ], [qw(close connect drain message pong)], 'one kind for each');
    is($warned{message}, 4, 'one warning for each die');
}

{
    my $context = EV::Websockets::Context->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . RawServer::unused_port(), on_error => dying('error'));
    my @seen;
    run_until(sub { @seen = (@seen, warned()) }, 'on_error dies');
    is($seen[0], "EV::Websockets: exception in error handler: boom in error at $0 line $line.\n", 'the warning');
    is($conn->state, 'closed', 'state is "closed"');
}

{
    my $listening = Pair->listen(listen => { on_handshake => sub { die "not you\n" } });
    my $events = Events->new;
    my $conn = $listening->context->connect(url => 'ws://127.0.0.1:' . $listening->port, $events->handlers);
    run_until(sub { $events->count('error') }, 'on_handshake dies: the connection is refused');
    like($events->last_of('error')->[0], qr/403/, 'with 403');
    is(join('', warned()), "EV::Websockets: exception in on_handshake: not you\n", 'and a warning');
    is($listening->server->order, '', 'the listener heard nothing of it');
}

# $@ is the program's. Only the module's callbacks run here: EV's own empty it.
{
    my $done = 0;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(
        on_handshake => sub { eval { die 'inner' }; 1 },
        on_connect   => sub { eval { die 'inner' } },
        on_message   => sub { my ($conn) = @_; eval { 1 }; $conn->close; die 'outer' },
        on_close     => sub { eval { die 'inner' }; $done++ },
    );
    my $conn = $context->connect(
        url        => "ws://127.0.0.1:$port",
        on_connect => sub { $_[0]->send('x'); die 'outer' },
        on_close   => sub { $done++; die 'outer' },
    );
    $@ = 'of the program';
    EV::run(EV::RUN_ONCE()) until $done == 2;
    is($@, 'of the program', '$@ is as it was');
    is(scalar(grep { /outer at/ } warned()), 3, 'three warnings for three dies');
}

# An exception object is stringified.
{
    my $pair = Pair->open(listen => { on_message => sub { die bless { why => 'object' }, 'My::Error' } });
    {
        package My::Error;
        use overload '""' => sub { "error: $_[0]{why}" }, fallback => 1;
    }
    $pair->c->send('x');
    my $warning = '';
    run_until(sub { $warning .= join '', warned(); length $warning }, 'an exception object');
    like($warning, qr/\AEV::Websockets: exception in message handler: error: object/, 'is shown as its string');
}

# So do warnings that are fatal, and handlers of $SIG{__DIE__}.
{
    my $pair = Pair->open(listen => { on_message => sub { my ($conn) = @_; eval { $conn->close(1) }; $conn->send("croaked: $@") } });
    $pair->c->send('x');
    run_until(sub { $pair->client->count('message') }, 'a croak of a method inside a callback');
    like($pair->client->last_of('message')->[0], qr/\Acroaked: close: invalid close code 1 /, 'is an exception like any other');
}

finish();
