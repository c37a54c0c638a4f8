use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Deflate;
use DeflatePeer;
use EV;
use EV::Websockets;
use Frame;
use Run;
use Test::More;

# What is compressed, and how, as a raw peer sees it.

my $P = 'permessage-deflate';
my %open = (server_no_context_takeover => 0, client_no_context_takeover => 0);

# The role decides which parameters are about what is sent.
for my $role (qw(server client)) {
    my $us = $role eq 'server' ? 'server' : 'client';
    my $open = sub {
        my ($deflate, $ext) = @_;
        # All frames are counted: the keepalive sends none, however slow the machine is.
        my $it = DeflatePeer->open(
            role => $role, deflate => { %open, %$deflate }, ext => defined $ext ? $ext : $P, options => { ping_interval => 0 },
        );
        $it->{seen} = 0;
        return $it;
    };
    # The frames since the last call, when there are as many.
    my $next = sub {
        my ($it, $count, $name) = @_;
        my $from = $it->{seen};
        run_until(sub { @{ $it->peer->frames } >= $from + $count }, "$role: $name: frames");
        $it->{seen} = @{ $it->peer->frames };
        is($it->{seen}, $from + $count, "$role: $name: no more than that");
        return @{ $it->peer->frames }[ $from .. $it->{seen} - 1 ];
    };

    # The threshold: shorter is plain, and a plain one leaves the window alone.
    {
        my $it = $open->({ threshold => 300 });
        my $d = Deflate->new;
        for my $length (0, 1, 299, 300, 301, 299, 5000) {
            for my $kind (TEXT, BINARY) {
                my $bytes = substr 'threshold ' x 500, 0, $length;
                $kind == TEXT ? $it->conn->send($bytes) : $it->conn->send_binary($bytes);
                my ($frame) = $next->($it, 1, "threshold 300: $length");
                is($frame->{opcode}, $kind, "$role: $length: the kind");
                is($frame->{rsv}, $length < 300 ? 0 : 4, "$role: $length: RSV1");
                is($frame->{rsv} ? $d->inflate($frame->{payload}) : $frame->{payload}, $bytes, "$role: $length: the message");
                cmp_ok(length $frame->{payload}, '<', 100, "$role: $length: is small") if $length >= 300;
            }
        }
    }
    {
        my $it = $open->({ threshold => 0 });
        my $d = Deflate->new;
        for my $bytes ('', 'x', 'xx', '') {
            $it->conn->send($bytes);
            my ($frame) = $next->($it, 1, "threshold 0: '$bytes'");
            is($frame->{rsv} ? $d->inflate($frame->{payload}) : $frame->{payload}, $bytes, "$role: '$bytes': the message");
        }
    }
    # Where nothing is taken over, what does not become shorter is sent plain,
    # unless the threshold says that all is to be compressed.
    for my $threshold (0, 1) {
        my $forget = "${us}_no_context_takeover";
        my $it = $open->({ $forget => 1, threshold => $threshold }, "$P; $forget");
        my $noise = join '', map { chr int rand 256 } 1 .. 500;
        $it->conn->send_binary($noise);
        my ($frame) = $next->($it, 1, "noise, threshold $threshold");
        is($frame->{rsv}, $threshold ? 0 : 4, "$role: noise, threshold $threshold: RSV1");
        ok(($frame->{rsv} ? Deflate->new->inflate($frame->{payload}) : $frame->{payload}) eq $noise, "$role: noise, threshold $threshold: the message");
    }
    {
        my $it = $open->({ threshold => 1e15 });
        $it->conn->send('x' x 100_000);
        is(($next->($it, 1, 'a threshold out of reach'))[0]{rsv}, 0, "$role: is never reached");
    }

    # The window is kept from message to message, or not.
    my $random = join '', map { chr(97 + rand 26) } 1 .. 2000;
    for my $takeover (1, 0) {
        my $forget = "${us}_no_context_takeover";
        my $it = $takeover ? $open->({}) : $open->({ $forget => 1 }, "$P; $forget");
        is($it->conn->extensions, $takeover ? $P : "$P; $forget", "$role: what was agreed on");
        my $d = Deflate->new(takeover => $takeover);
        $it->conn->send($random) for 1 .. 3;
        my @frames = $next->($it, 3, $takeover ? 'takeover' : 'no takeover');
        is_deeply([ map { $d->inflate($_->{payload}) } @frames ], [ ($random) x 3 ], "$role: the messages");
        my ($first, @later) = map { length $_->{payload} } @frames;
        cmp_ok($_, $takeover ? '<' : '>', $takeover ? 100 : $first - 100, "$role: the same again, $_ octets after $first") for @later;
    }

    # Every window, with a text that comes back after 400, 3000 and 20000 octets.
    for my $bits (9 .. 15) {
        my $param = "${us}_max_window_bits=$bits";
        my $it = $open->({}, "$P; $param");
        my ($d, @sent) = Deflate->new(bits => $bits);
        for my $apart (400, 3000, 20_000) {
            my $text = substr($random, 0, 200) . join '', map { chr(97 + rand 26) } 1 .. $apart;
            push @sent, $text . $text;
            $it->conn->send($sent[-1]) for 1, 2;
        }
        my @frames = $next->($it, 6, "$bits bits");
        my @got = map { eval { $d->inflate($_->{payload}) } || $@ } @frames;
        ok("@got" eq join(' ', map { ($_) x 2 } @sent), "$role: a window of $bits bits is enough") or diag grep { /inflate/ } @got;
    }

    # The levels.
    {
        my $words = join ' ', map { join '', map { chr(97 + rand 6) } 1 .. 1 + rand 6 } 1 .. 5000;
        my %size;
        for my $level (1 .. 9) {
            my $it = $open->({ level => $level });
            $it->conn->send($words);
            my ($frame) = $next->($it, 1, "level $level");
            ok(Deflate->new->inflate($frame->{payload}) eq $words, "$role: level $level: the message");
            $size{$level} = length $frame->{payload};
        }
        cmp_ok($size{9}, '<', $size{1}, "$role: level 9 is smaller than level 1");
        cmp_ok($size{1}, '<', length($words) * 0.8, "$role: which is smaller than the text");
    }

    # What cannot be compressed does not grow by much (at the level 1 of zlib-rs by a twentieth).
    for my $level (1, 2, 9) {
        my $it = $open->({ threshold => 0, level => $level });
        my $noise = join '', map { chr int rand 256 } 1 .. 100_000;
        $it->conn->send_binary($noise);
        my ($frame) = $next->($it, 1, 'noise');
        ok(($frame->{rsv} ? Deflate->new->inflate($frame->{payload}) : $frame->{payload}) eq $noise, "$role: noise, level $level: the message");
        cmp_ok(length $frame->{payload}, '<', $level == 1 ? 107_000 : 100_200, "$role: noise, level $level: does not grow");
    }

    # Fragments: compressed across, RSV1 on the first alone, pings between.
    {
        my $it = $open->({ threshold => 0 });
        my $d = Deflate->new;
        for my $pieces ([ 'one ' x 500, 'two ' x 500, '', 'one ' x 500 ], [ '', '', 'late ' x 100 ], [ 'x', '' ], [ '', '' ]) {
            for my $binary (0, 1) {
                my $last = $#$pieces;
                for my $n (0 .. $last) {
                    $it->conn->send_fragment($pieces->[$n], $binary, $n == $last ? 1 : 0);
                    $it->conn->send_ping("after $n") if $n < $last;
                }
                my @all = $next->($it, 2 * $last + 1, 'fragments');
                my @frames = grep { $_->{opcode} != PING } @all;
                my $name = "$role: fragments of (" . join(', ', map { length } @$pieces) . ')';
                is(join(' ', map { $_->{opcode} } @frames), join(' ', $binary ? BINARY : TEXT, (CONT) x $last), "$name: opcodes");
                is(join(' ', map { $_->{fin} } @frames), join(' ', (0) x $last, 1), "$name: FIN");
                is(join(' ', map { $_->{rsv} } @frames[ 1 .. $last ]), join(' ', (0) x $last), "$name: RSV1 never on a later one");
                my $payload = join '', map { $_->{payload} } @frames;
                is($frames[0]{rsv} ? $d->inflate($payload) : $payload, join('', @$pieces), "$name: the message");
                is(join(' ', map { "$_->{rsv}$_->{payload}" } grep { $_->{opcode} == PING } @all),
                    join(' ', map { "0after $_" } 0 .. $last - 1), "$name: pings are plain");
            }
        }
    }
    {
        my $it = $open->({});
        $it->conn->send_fragment('repeat ' x 1000, 0, 0);
        $it->conn->send_fragment('repeat ' x 1000, 0, 1);
        my @frames = $next->($it, 2, 'long fragments, default threshold');
        is_deeply([ map { $_->{rsv} } @frames ], [ 4, 0 ], "$role: are compressed");
        cmp_ok(length $frames[0]{payload}, '<', 200, "$role: the first");
        cmp_ok(length $frames[1]{payload}, '<', 100, "$role: the second, which has the first to refer to");
        is(Deflate->new->inflate(join '', map { $_->{payload} } @frames), 'repeat ' x 2000, "$role: the message");
    }

    # close() in the middle of a fragmented message ends it as a valid one.
    {
        my $it = $open->({ threshold => 0 });
        $it->conn->send_fragment('unfinished ' x 100, 0, 0);
        $it->conn->close(1000, 'enough');
        run_until(sub { $it->peer->close_read }, "$role: closed within a message");
        my @frames = grep { $_->{opcode} != CLOSE } @{ $it->peer->frames };
        is(Deflate->new->inflate(join '', map { $_->{payload} } @frames), 'unfinished ' x 100, "$role: which was ended properly");
        is($frames[-1]{fin}, 1, "$role: with FIN");
    }

    # The queue: more than the kernel takes, in order.
    {
        my $it = $open->({ threshold => 0 });
        my $d = Deflate->new;
        $it->peer->stop_reading;
        my @sent = map { "$_ " . join '', map { chr(97 + rand 26) } 1 .. 100 + $_ % 900 } 1 .. 2000;
        $it->conn->send($_) for @sent;
        cmp_ok($it->conn->send_queue_size, '>', 100_000, "$role: is queued");
        settle();
        $it->peer->start_reading;
        my @frames = $next->($it, 2000, 'a long queue');
        my $same = grep { $d->inflate($frames[$_]{payload}) eq $sent[$_] } 0 .. $#sent;
        is($same, 2000, "$role: every message in its place");
        is($it->conn->send_queue_size, 0, "$role: and the queue is empty");
    }
}

# A connection that takes its context over and is idle for some seconds gives its inflater back, but for the window: what
# the peer refers to then is there, to the last octet of 32 KiB.
{
    my ($idle, @pairs) = (0);
    EV::Websockets::on_log(sub { $idle++ if $_[2] eq 'IdleCodecs has run out' });
    for my $role (qw(server client)) {
        my $us = DeflatePeer->open(role => $role, deflate => {%open}, ext => $P);
        push @pairs, [$role, $us, Deflate->new(takeover => 1)];
    }
    my $noise = join '', map { chr int rand 256 } 1 .. 32_000;
    for my $pair (@pairs) {
        my ($role, $us, $d) = @$pair;
        $us->send_compressed(BINARY, $d->message($noise));
        run_until(sub { $us->events->messages == 1 }, "$role: what there is to remember");
    }
    run_until(sub { $idle >= 2 * @pairs }, 'they are idle');
    EV::Websockets::on_log(undef);
    for my $pair (@pairs) {
        my ($role, $us, $d) = @$pair;
        my $again = $d->message($noise);
        cmp_ok(length $again, '<', 2000, "$role: the same again, in few octets");
        $us->send_compressed(BINARY, $again);
        run_until(sub { $us->events->messages == 2 || $us->events->count('close') }, "$role: it arrives");
        ok((($us->events->messages)[-1]) eq $noise, "$role: as it was");
    }
}

finish();
