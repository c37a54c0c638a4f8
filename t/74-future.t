use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

BEGIN {
    plan skip_all => 'Future and Future::AsyncAwait are not installed'
        unless eval { require Future; require Future::AsyncAwait; 1 };
    Future::AsyncAwait->import;
}

use EV;
use EV::Websockets;
use Future;
use RawServer;
use Run;

# Futures that our callbacks complete, and async functions that wait for them:
# what was suspended goes on inside of a callback, and may do there what any
# callback may.

my $context = EV::Websockets::Context->new;
my $port = $context->listen(on_message => sub {
    my ($conn, $bytes) = @_;
    $bytes eq 'bye' ? $conn->close(4000, 'bye') : $conn->send("echo $bytes");
});

# [ conn, future of the next message ], as a future of its connecting.
sub dial {
    my (%options) = @_;
    my $connected = Future->new;
    my $peer = { next => Future->new };
    my $tell = sub {
        my (@what) = @_;
        (my $next, $peer->{next}) = ($peer->{next}, Future->new);
        $next->done(@what);
    };
    $peer->{conn} = $context->connect(
        url        => "ws://127.0.0.1:$port",
        on_connect => sub { $connected->done($peer) },
        on_message => sub { $tell->($_[1]) },
        on_close   => sub { $tell->(close => $_[1]) },
        on_error   => sub { $connected->fail($_[1], 'websocket') },
        %options,
    );
    return $connected;
}

async sub talk {
    my (@words) = @_;
    my $peer = await dial();
    my @answers;
    for my $word (@words) {
        $peer->{conn}->send($word);
        push @answers, await $peer->{next};
    }
    $peer->{conn}->send('bye');
    push @answers, await $peer->{next};
    return @answers;
}

# Its result, once the loop has brought it about.
sub result {
    my ($future, $name) = @_;
    run_until(sub { $future->is_ready }, $name);
    return $future->is_done ? $future->get : ();
}

is_deeply([ result(talk('a', 'b'), 'one conversation') ], [ 'echo a', 'echo b', close => 4000 ], 'in its order');

is_deeply(
    [ result(Future->needs_all(map { talk("$_ one", "$_ two") } 1 .. 3), 'three at once') ],
    [ map { ("echo $_ one", "echo $_ two", close => 4000) } 1 .. 3 ],
    'each has its own answers',
);

# Failures are exceptions where they are awaited.
{
    my $attempt = (async sub {
        my $lived = eval { await dial(url => 'ws://127.0.0.1:' . RawServer::unused_port()); 1 };
        return $lived ? 'connected' : $@;
    })->();
    like(join('', result($attempt, 'a refused connection')), qr/Connection refused/, 'throws its text');
}

# A die after an await is the future's, not the callback's that completed it.
{
    my $dying = (async sub { my $peer = await dial(); $peer->{conn}->close; die "on purpose\n" })->();
    result($dying, 'a die');
    is($dying->failure, "on purpose\n", 'fails its future');
    is(join('', warned()), '', 'and is no exception in a handler');
}

# The function that goes on inside of a callback destroys the context there, and
# waits again: for what never comes.
{
    my $other = EV::Websockets::Context->new;
    my $listening = $other->listen;
    my ($state, $gone);
    my $rash = (async sub {
        my $connected = Future->new;
        my $conn = $other->connect(
            url => "ws://127.0.0.1:$listening", on_connect => sub { $connected->done },
            on_close => sub { $gone = 1 });
        await $connected;
        undef $other;
        return $conn->state;
    })->();
    is(join('', result($rash, 'a context destroyed in the middle')), 'closed', 'its connections are closed');
    is($gone, undef, 'without a callback');
}

# Cancelled while it is suspended: what it held is freed, and a message that
# comes then completes nothing.
{
    my $freed = 0;
    sub Held::DESTROY { $freed++ }
    my ($peer, $waits);
    my $cancelled = (async sub {
        my $held = bless [], 'Held';
        $peer = await dial();
        $waits = 1;
        await $peer->{next};
        return $held;
    })->();
    run_until(sub { $waits }, 'it waits for a message');
    my $conn = $peer->{conn};
    $cancelled->cancel;
    is($freed, 1, 'cancelling frees what it held');
    my $after = $peer->{next} = Future->new;
    $conn->send('later');
    is(join('', result($after, 'the connection lives on')), 'echo later', 'for others');
}

undef $context;
finish();
