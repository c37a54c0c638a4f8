use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Adopt;
use EV;
use EV::Websockets;
use Events;
use Frame;
use POSIX ();
use Run;
use Scalar::Util qw(weaken);
use Test::More;

# Who owns the socket of an adopted connection, and for how long.

my $context = EV::Websockets::Context->new;

sub descriptors {
    opendir my $dir, '/proc/self/fd' or return;
    return scalar grep { /\A\d+\z/ } readdir $dir;
}

sub fd_is_open {
    my $copy = POSIX::dup($_[0]);
    POSIX::close($copy) if defined $copy;
    return defined $copy;
}

# The descriptors that a program run from here would inherit.
sub inherited {
    my @fds;
    for my $file (glob '/proc/self/fdinfo/*') {
        open my $info, '<', $file or next;
        my ($flags) = map { /^flags:\s+(\d+)/ ? oct $1 : () } <$info>;
        push @fds, $file =~ /(\d+)\z/ if defined $flags && !($flags & 02000000);    # Linux's O_CLOEXEC
    }
    return @fds;
}

subtest 'the handle lives as long as the connection' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    my $fd = fileno $near;
    weaken(my $weak = $near);
    my $conn = $context->adopt(fh => $near, initial_data => request(), $events->handlers);
    undef $near;
    ok($weak, 'held from the beginning');
    run_until(sub { $events->count('connect') }, 'connected');
    ok($weak, 'held while it is open');
    $peer->send_close(1000);
    run_until(sub { $peer->eof && $events->count('close') }, 'closed');
    ok($weak && fd_is_open($fd), 'held while Perl has the connection');
    delete @$events{qw(conn log)};
    undef $conn;
    is($weak, undef, 'and no longer');
    ok(!fd_is_open($fd), 'the descriptor went with it');
};

subtest 'the program may close its handle' => sub {
    my ($near, $peer, $events, $conn) = connected($context);
    close $near;
    $conn->send('still here');
    run_until(sub { $peer->frames_of(TEXT) }, 'the connection goes on');
    $conn->abort;
    run_until(sub { $peer->eof }, 'and ends');
};

# Closing our descriptor alone would leave the stream open: the handle has another.
for my $case (
    [ 'the peer closes',          sub { my ($peer) = @_; $peer->send_close(1000) } ],
    [ 'we close',                 sub { my ($peer, $conn) = @_; $conn->close; wait_until(sub { $peer->close_read }); $peer->send_close(1000) } ],
    [ 'the peer breaks the protocol', sub { my ($peer) = @_; $peer->put("\xff\xff") } ],
    [ 'abort',                    sub { my ($peer, $conn) = @_; $conn->abort } ],
    [ 'the context is destroyed', sub { my (undef, undef, $own) = @_; $own->DESTROY } ],
    [ 'shutdown',                 sub { my ($peer, undef, $own) = @_; $own->shutdown(timeout => 0.05) } ],
) {
    my ($name, $act) = @$case;
    my $own = EV::Websockets::Context->new;
    my ($near, $peer, undef, $conn) = connected($own);
    $act->($peer, $conn, $own);
    run_until(sub { $peer->eof }, "$name: the stream ends although the handle is open");
    ok(defined fileno $near && fd_is_open(fileno $near), "$name: and it is");
}

# The same for those that never come to be connections.
for my $case (
    [ 'the context is destroyed', '', sub { $_[1]->DESTROY } ],
    [ 'abort',                    '', sub { $_[2]->abort } ],
    [ 'abort before on_connect',  request(), sub { $_[2]->abort } ],
    [ 'shutdown',                 'GET ', sub { $_[1]->shutdown(timeout => 0.05) } ],
    [ 'shutdown before on_connect', request(), sub { $_[1]->shutdown(timeout => 0.05) } ],
    [ 'the client leaves',        'GET ', sub { $_[0]->finish_writing } ],
) {
    my ($name, $given, $act) = @$case;
    my $own = EV::Websockets::Context->new;
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    my $conn = $own->adopt(fh => $near, initial_data => $given, $events->handlers);
    $act->($peer, $own, $conn);
    run_until(sub { $peer->eof }, "not connected yet, $name: the stream ends");
    settle();
    is($events->order, $name =~ /destroyed/ ? '' : 'error', "$name: callbacks");
    is($conn->state, 'closed', "$name: state");
}

# A descriptor that is shared can be made blocking by its other owner, as
# Feersum does. A peer that does not read must not stop the loop then.
subtest 'a handle that is made blocking again' => sub {
    my ($near, $peer, $events, $conn) = connected($context);
    $near->blocking(1);
    $peer->stop_reading;
    $conn->send_binary('x' x 4_000_000);
    my $turns = 0;
    my $timer = EV::timer(0.01, 0.01, sub { $turns++ });
    run_until(sub { $turns > 3 }, 'the loop goes on');
    cmp_ok($conn->send_queue_size, '>', 0, 'while bytes wait');
    $peer->start_reading;
    run_until(sub { $peer->frames_of(BINARY) }, 'which come when the peer reads');
    my $head = frame(mask => 'abcd', opcode => BINARY, payload => 'y' x 300_000);
    $peer->put($head);
    run_until(sub { $events->count('message') }, 'and a large message is read');
    is(length(($events->messages)[0]), 300_000, 'whole');
    $conn->abort;
};

subtest 'no descriptor is left' => sub {
    plan skip_all => 'no /proc' if !defined descriptors();
    my $round = sub {
        my ($near, $peer, $events, $conn) = connected($context);
        $peer->send_close(1000);
        wait_until(sub { $peer->eof && $events->count('close') }) or die "not closed\n";
        my ($mine, $other) = unix_pair();
        eval { $context->adopt(fh => $mine, initial_data => "\0") };
        my $gone = Events->new;
        $context->adopt(fh => $mine, initial_data => request(), on_handshake => sub { 0 }, $gone->handlers);
        close $other;
        wait_until(sub { $gone->count('error') }) or die "no error\n";
    };
    $round->() for 1 .. 3;
    settle();
    my $before = descriptors();
    $round->() for 1 .. 20;
    settle();
    is(descriptors(), $before, 'as many as before');
};

subtest 'our descriptor is closed on exec' => sub {
    plan skip_all => 'no /proc' if !defined descriptors();
    ok(scalar(grep { $_ == 2 } inherited()), 'STDERR is inherited');
    my $before = join ' ', inherited();
    my ($near, undef, undef, $conn) = connected($context);
    is(join(' ', inherited()), $before, 'nothing new would be');
    $conn->abort;
};

subtest 'a forked child that drops its context ends nothing' => sub {
    my $own = EV::Websockets::Context->new;
    my ($near, $peer, $events, $conn) = connected($own);
    my ($mine, $other) = unix_pair();
    my $pending = $own->adopt(fh => $mine, initial_data => 'GET ');
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        Test::More->builder->no_ending(1);
        $own->DESTROY;
        undef $own;
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    $conn->send('after the fork');
    run_until(sub { $peer->frames_of(TEXT) }, 'the connection of the parent goes on');
    $peer->send_frame(TEXT, 'both ways');
    run_until(sub { $events->count('message') }, 'in both directions');
    is($pending->state, 'connecting', 'and so does one that is not upgraded yet');
};

# ---- callbacks ----

subtest 'die in every callback' => sub {
    for my $name (qw(connect message pong drain close)) {
        my ($near, $far) = unix_pair();
        my ($peer, $events) = (peer_on($far), Events->new);
        $context->adopt(fh => $near, initial_data => request(), $events->handlers(
            on_connect => sub { $_[0]->send('x'); die "thrown\n" if $name eq 'connect' },
            map { my $other = $_; ("on_$other" => sub { die "thrown\n" if $name eq $other }) } qw(message pong drain close),
        ));
        $peer->send_frame(TEXT, 'a');
        $peer->send_frame(PONG, 'b');
        run_until(sub { $events->count('message') && $events->count('pong') && $events->count('drain') }, "$name: goes on");
        $peer->send_close(1000);
        run_until(sub { $events->count('close') }, "$name: to its end");
        is_deeply([ warned() ], [ "EV::Websockets: exception in $name handler: thrown\n" ], "$name: a warning");
    }
};

subtest 'adopt in every callback, also of itself' => sub {
    for my $name (qw(handshake connect message pong drain error close)) {
        my ($near, $far) = unix_pair();
        my ($next, $next_far) = unix_pair();
        my ($peer, $events, $inner, $again) = (peer_on($far), Events->new, Events->new);
        my $act = sub {
            return 1 if $again++;
            $context->adopt(fh => $next, initial_data => request(), $inner->handlers);
            return 1;
        };
        $context->adopt(fh => $near, initial_data => request(), max_message_size => 5,
            on_handshake => sub { $name eq 'handshake' ? $act->() : 1 },
            $events->handlers(
                on_connect => sub { $_[0]->send('x'); $act->() if $name eq 'connect' },
                map { my $other = $_; ("on_$other" => sub { $act->() if $name eq $other }) } qw(message pong drain error close),
            ));
        $peer->send_frame(TEXT, 'a');
        $peer->send_frame(PONG, 'b');
        run_until(sub { $events->count('message') && $events->count('pong') && $events->count('drain') }, "$name: goes on");
        $peer->send_frame(TEXT, 'too long');
        run_until(sub { $events->count('close') && $inner->count('connect') }, "$name: both came to be");
        $inner->conn->abort;
    }
};

subtest 'the context is destroyed in every callback' => sub {
    for my $name (qw(handshake connect message)) {
        my $own = EV::Websockets::Context->new;
        my ($near, $far) = unix_pair();
        my ($peer, $events, $done) = (peer_on($far), Events->new);
        my $end = sub { $own->DESTROY; $done = 1 };
        my $conn = $own->adopt(fh => $near, initial_data => request(),
            on_handshake => sub { $end->() if $name eq 'handshake'; 1 },
            $events->handlers(map { my $other = $_; ("on_$other" => sub { $end->() if $name eq $other }) } qw(connect message)));
        $peer->send_frame(TEXT, 'a');
        run_until(sub { $done && $peer->eof }, "$name: the stream ends");
        is($conn->state, 'closed', "$name: state");
    }
};

subtest 'DESTROY by hand while connecting' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    my $conn = $context->adopt(fh => $near, initial_data => request(), $events->handlers);
    $conn->DESTROY;
    run_until(sub { $peer->close_read }, 'the peer gets a Close');
    $peer->send_close(1000);
    run_until(sub { $peer->eof }, 'and the end');
    is($events->order, '', 'nobody else is told');
};

# ---- handshakes decided later ----

subtest 'a decision later' => sub {
    for my $accept (1, 0) {
        my ($near, $far) = unix_pair();
        my ($peer, $events, $waiting) = (peer_on($far), Events->new);
        my $conn = $context->adopt(fh => $near, initial_data => request(headers => { 'Sec-WebSocket-Protocol' => 'a, b' }),
            on_handshake => sub { $waiting = $_[1] }, $events->handlers);
        run_until(sub { $waiting }, 'on_handshake');
        settle();
        is($conn->state, 'connecting', 'it waits');
        if ($accept) {
            $waiting->protocol('b');
            $waiting->accept({ 'X-Late' => 1 });
            run_until(sub { $events->count('connect') && defined $peer->head }, 'accepted');
            is_deeply([ $peer->status, $peer->header('X-Late'), $conn->get_protocol ], [ 101, 1, 'b' ], 'as decided');
            $conn->abort;
        }
        else {
            $waiting->reject(429, [ 'Retry-After' => 7 ], ['later']);
            run_until(sub { $events->count('error') && $peer->eof }, 'rejected');
            is_deeply([ $peer->status, $peer->header('Retry-After') ], [ 429, 7 ], 'as decided');
            is($events->last_of('error')->[0], 'the upgrade was refused: 429 Too Many Requests', 'on_error');
        }
    }
};

subtest 'origins, with patterns' => sub {
    for my $case (
        [ 'https://here.example', 101 ], [ 'https://a.there.example', 101 ], [ 'https://42.example', 101 ],
        [ 'https://evil.example', 403 ], [ undef, 101 ],
    ) {
        my ($origin, $status) = @$case;
        my ($near, $far) = unix_pair();
        my ($peer, $events) = (peer_on($far), Events->new);
        $context->adopt(fh => $near, initial_data => request(headers => { Origin => $origin }), $events->handlers,
            origins => [ 'https://here.example', '*.there.example', qr{\Ahttps://\d+\.example\z} ]);
        run_until(sub { defined $peer->head }, (defined $origin ? $origin : 'no page') . ' is answered');
        is($peer->status, $status, "with $status");
        run_until(sub { $events->count($status == 101 ? 'connect' : 'error') }, 'and we know');
        $events->conn->abort if $events->conn;
    }
    my ($near) = unix_pair();
    croaks_like { $context->adopt(fh => $near, origins => ['x y']) } qr/\Aadopt: origins: /, 'an origin that is none';
    croaks_like { $context->adopt(fh => $near, upgraded => 1, origins => ['*']) } qr/\Aadopt: origins is for an upgrade/, 'too late';
};

subtest 'nobody decides, and no request comes' => sub {
    for my $case ([ request(), 503 ], [ 'GET / HTTP/1.1', 408 ]) {
        my ($given, $status) = @$case;
        my ($near, $far) = unix_pair();
        my ($peer, $events, @waiting) = (peer_on($far), Events->new);
        $context->adopt(fh => $near, initial_data => $given, handshake_timeout => 0.05,
            on_handshake => sub { push @waiting, $_[1]; $_[1] }, $events->handlers);
        run_unticked(sub { $events->count('error') && $peer->eof }, 'the time is over');
        is($peer->status, $status, "is answered with $status");
        like($events->last_of('error')->[0], qr/\Athe upgrade was refused: $status /, 'on_error');
    }
};

finish;
