use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Crowd;
use EV;
use EV::Websockets;
use File::Temp qw(tempfile);
use Frame;
use InChild;
use Run;
use Test::More;

# One message for many, and lives that end at the worst moment: callbacks that destroy everything, children that have copies,
# programs that end. Whoever is not concerned gets every message, once and in order.

my $LIMIT = 20_000;

{
    package BackEnd;
    sub new { my ($class, %on) = @_; return bless {%on}, $class }
    sub publish      { my ($self, $topic, $data) = @_; ($self->{publish} || sub { })->(@_); return 'carried' }
    sub topic_used   { my ($self) = @_; ($self->{topic_used}   || sub { })->(@_); return }
    sub topic_unused { my ($self) = @_; ($self->{topic_unused} || sub { })->(@_); return }
    sub resume       { my ($self) = @_; ($self->{resume}       || sub { })->(@_); return 1 }
}

# A crowd of a subscriber that reads nothing, and two that read; $act is called in the callback $when, once.
#   on_drop, on_error, on_close: since the first is too slow       on_drain: when it reads at last
#   frame: of a topic with a history    topic_used, topic_unused, publish, resume: of a back end
sub stage {
    my ($when, $act) = @_;
    my $it = { acted => 0 };
    my $once = sub { my ($name) = @_; return sub { $act->($it, @_) if $name eq $when && !$it->{acted}++ } };
    my $ctx = $it->{ctx} = EV::Websockets::Context->new;
    $it->{crowd} = Crowd->new(ctx => $ctx, peers => 3, listen => {
        max_send_queue => $LIMIT, map { $_ => $once->($_) } qw(on_drop on_error on_close on_drain),
    });
    my @conn = $it->{crowd}->conns;
    $it->{crowd}->peer(0)->stop_reading;
    $ctx->set_backplane(BackEnd->new(map { $_ => $once->($_) } qw(topic_used topic_unused publish resume)))
        if $when =~ /^(?:topic|publish|resume)/;
    my $on_slow = $when =~ /^on_(?:error|close)$/ ? 'close' : 'drop_old';
    $_->subscribe('t', on_slow => $on_slow) for @conn;
    $ctx->topic('h', history => 5, frame => sub { $once->('frame')->(@_); return "framed $_[0]" });
    $_->subscribe('h') for @conn;
    $it->{message} = $ctx->prepare('m' x 5000);
    return $it;
}

# Plays it, and says whether the callback came.
sub play {
    my ($it, $when) = @_;
    my $turns = 0;
    while (!$it->{acted} && $turns++ < 2000) {
        my $ctx = $it->{ctx} or last;
        $ctx->publish('t', $it->{message}, local => 1) for 1 .. 5;
        if    ($when eq 'frame')        { $ctx->publish('h', 'f') }
        elsif ($when eq 'publish')      { $ctx->publish('t', 'b') }
        elsif ($when eq 'topic_unused') { $_->unsubscribe('t') for $it->{crowd}->conns }
        elsif ($when eq 'resume')       { $it->{crowd}->conn(1)->subscribe('r', since => [ 'x', 1 ]) }
        elsif ($when eq 'on_drain' && $turns > 300) { $it->{crowd}->peer(0)->start_reading }
        undef $ctx;
        EV::run(EV::RUN_NOWAIT);
    }
    return $it->{acted};
}

my %act = (
    'drops the message'       => sub { undef $_[0]{message} },
    'aborts the slow one'     => sub { my $conn = shift(@{ $_[0]{crowd}{conn} }); $conn->abort },
    'aborts the fast ones'    => sub { $_->abort for splice @{ $_[0]{crowd}{conn} }, 1 },
    'closes everyone'         => sub { $_->close for $_[0]{crowd}->conns },
    'leaves all topics'       => sub { for my $conn ($_[0]{crowd}->conns) { $conn->unsubscribe($_) for $conn->topics } },
    'publishes'               => sub { my ($it) = @_; $it->{ctx}->publish('t', $it->{message}, local => 1) for 1 .. 20 },
    'forgets the history'     => sub { $_[0]{ctx}->topic('h') },
    'dies'                    => sub { die "on purpose\n" },
    'runs the loop'           => sub { EV::run(EV::RUN_NOWAIT) for 1 .. 3 },
    'destroys the context'    => sub { $_[0]{ctx}->DESTROY },
    'drops the context'       => sub { delete $_[0]{ctx}; delete $_[0]{crowd}{ctx} },
    'drops everything'        => sub { my ($it) = @_; @{ $it->{crowd}{conn} } = (); delete @$it{qw(ctx message)}; delete $it->{crowd}{ctx} },
    'drops its arguments'     => sub { my $it = shift; @_ = (); @{ $it->{crowd}{conn} } = () },
    'takes the back end away' => sub { $_[0]{ctx}->set_backplane(undef) },
    'unsubscribes in between' => sub { my ($it) = @_; my ($slow, $one) = $it->{crowd}->conns;
        $it->{ctx}->publish('t', 'x', local => 1); $one->unsubscribe('t'); $it->{ctx}->publish('t', 'y', local => 1) },
);

for my $when (qw(on_drop on_error on_close on_drain frame topic_used topic_unused publish resume)) {
    for my $what (sort keys %act) {
        my $it = stage($when, $act{$what});
        local $@;
        my $came = eval { play($it, $when) };
        my @told = warned();
        ok($it->{acted}, "$when $what: it came") or diag $@;
        my $ctx = $it->{ctx};
        my @left = $ctx && eval { $ctx->topics; 1 } ? grep { $_ && $_->state eq 'connected' } $it->{crowd}->conns : ();
        # Whoever is left gets what comes next.
        if (@left) {
            $ctx->set_backplane(undef);
            $_->subscribe('last', on_slow => 'drop_old') for @left;
            is($ctx->publish('last', 'the end'), scalar @left, "$when $what: for all that are left");
            $it->{crowd}->peer(0)->start_reading;
            my @reading = grep { !$_->eof && !$_->close_read } map { $it->{crowd}->peer($_) } 0 .. 2;
            my $have = sub { scalar grep { grep { $_->{payload} eq 'the end' } @{ $_->frames } } @reading };
            run_until(sub { $have->() == @left }, "$when $what: and it arrives");
            $_->close for @left;
        }
        my @odd = grep { !/on purpose/ } @told;
        is("@odd", '', "$when $what: nothing is said");
        undef @left;
        %$it = ();
        undef $ctx;
        warned();
    }
}

# ---- fork ----

# Publications that wait, a queue, a history, and a prepared message; then a child does something to its copies.
{
    my %child = (
        'leaves by _exit'         => [ sub { 1 } ],
        'leaves by exit'          => [ sub { 1 }, 'exit' ],
        'drops all and exits'     => [ sub { my ($it) = @_; %$it = (); 1 }, 'exit' ],
        'destroys the context'    => [ sub { $_[0]{ctx}->DESTROY; 1 }, 'exit' ],
        'drops the message first' => [ sub { my ($it) = @_; delete @$it{ $_ } for qw(message ctx crowd); 1 }, 'exit' ],
        'publishes and exits'     => [ sub {
            my ($it) = @_;
            $it->{ctx}->publish('t', $it->{message});
            $it->{ctx}->publish('h', 'of the child');
            $it->{ctx}->broadcast('of the child', [ $it->{crowd}->conns ]);
            1;
        }, 'exit' ],
        'publishes and destroys'  => [ sub { my ($it) = @_; $it->{ctx}->publish('t', 'of the child'); $it->{ctx}->DESTROY; 1 } ],
        'subscribes, unsubscribes' => [ sub {
            my ($it) = @_;
            for my $conn ($it->{crowd}->conns) { $conn->unsubscribe('t'); $conn->subscribe("c$_") for 1 .. 100 }
            $it->{ctx}->topic('h');
            1;
        }, 'exit' ],
        'closes everyone and exits' => [ sub { $_->close(1000, 'of the child') for $_[0]{crowd}->conns; 1 }, 'exit' ],
        'aborts everyone'           => [ sub { my ($it) = @_; delete $it->{ctx}; delete $it->{crowd}{ctx}; @{ $it->{crowd}{conn} } = (); 1 } ],
        'runs another program'      => [ sub { exec $^X, '-e', 'exit 0' } ],
        'has a context of its own'  => [ sub {
            my ($it) = @_;
            EV::default_loop->loop_fork;
            %$it = ();
            my $crowd = Crowd->new(peers => 2);
            my $message = $crowd->ctx->prepare('mine');
            $_->subscribe('t') for $crowd->conns;
            $crowd->ctx->topic('t', history => 5);
            $crowd->ctx->publish('t', $message) for 1 .. 3;
            my @got = map { @{ $crowd->got($_, 3) } } 0, 1;
            return "@got" eq join ' ', ('mine') x 6;
        } ],
    );
    for my $what (sort keys %child) {
        my ($code, $how) = @{ $child{$what} };
        my $crowd = Crowd->new(peers => 3);
        my $ctx = $crowd->ctx;
        my $it = { crowd => $crowd, ctx => $ctx, message => $ctx->prepare('prepared') };
        $ctx->topic('h', history => 10);
        my $start = $ctx->position('h');
        for my $conn ($crowd->conns) { $conn->subscribe($_) for 't', 'h' }
        $crowd->peer(2)->stop_reading;
        $ctx->publish('t', 'x' x 1_000_000) for 1 .. 8;
        $ctx->publish('h', "kept $_") for 1 .. 3;
        EV::run(EV::RUN_NOWAIT) for 1 .. 2;
        my $waits = $crowd->conn(2)->send_queue_size;
        $ctx->publish('t', 'on its way');
        $crowd->conn(0)->send('to one');
        in_child("a child $what", sub { undef $crowd; undef $ctx; $code->($it) }, $how);
        $ctx->publish('t', $it->{message});
        $crowd->peer(2)->start_reading;
        my @expected = (('x') x 8, 'kept 1', 'kept 2', 'kept 3', 'on its way', 'prepared');
        for my $who (0 .. 2) {
            my @all = @expected;
            splice @all, -1, 0, 'to one' if !$who;
            my $got = $crowd->got($who, scalar @all);
            is_deeply([ map { length > 1000 ? 'x' : $_ } @$got ], \@all, "... and the parent's $who has everything, once");
        }
        cmp_ok($waits, '>', 100_000, '... one of them from its queue');
        is($ctx->subscribers('t'), 3, '... all are subscribers');
        $crowd->conn(0)->unsubscribe('h');
        ok($crowd->conn(0)->subscribe('h', since => $start), '... the history is there');
        is_deeply($crowd->got(0, 3), [ map { "kept $_" } 1 .. 3 ], '... and sent');
        is($crowd->conn(1)->state, 'connected', '... nobody has left');
        settle();
        my @more = map { map { $_->{payload} } splice @{ $crowd->peer($_)->frames } } 0 .. 2;
        is("@more", '', '... and nothing of the child comes to anybody');
    }
}

# ---- memory ----

# Ten thousand of everything leave nothing behind.
SKIP: {
    my $ctx = EV::Websockets::Context->new;
    my $crowd = Crowd->new(ctx => $ctx, peers => 2, listen => { max_send_queue => 3000, send_queue_policy => 'drop', on_drop => sub { } });
    my $cycle = sub {
        my ($number) = @_;
        my ($one, $two) = $crowd->conns;
        my $message = $ctx->prepare("message $number " . 'x' x ($number % 700));
        $ctx->topic("h$number", history => 3, max_age => 1000);
        $_->subscribe("t$number", on_slow => $number % 2 ? 'latest' : 'drop_old') for $one, $two;
        $one->subscribe("h$number", since => [ 'x', $number ]);
        $ctx->publish("t$number", $message, key => $_ % 3, except => $number % 5 ? undef : $two) for 1 .. 5;
        $ctx->publish("h$number", "kept $number") for 1 .. 5;
        $ctx->broadcast($message, [ $one, $two ]);
        if ($number % 500 == 0) {
            # Both go, with what they have subscribed to and what waits for them.
            $number % 1000 ? $_->abort : $_->close for $one, $two;
            @{ $crowd->{conn} } = @{ $crowd->{peer} } = ();
            $crowd->join_in for 1, 2;
        }
        elsif ($number % 7) { $_->unsubscribe("t$number") for $one, $two; $one->unsubscribe("h$number") }
        EV::run(EV::RUN_NOWAIT) if $number % 3 == 0;
        @{ $_->frames } = () for @{ $crowd->{peer} };
        $ctx->topic("h$number");
    };
    $cycle->($_) for 1 .. 2000;
    my $before = rss_kib();
    skip 'no /proc', 1 if !defined $before;
    $cycle->($_) for 2001 .. 10_000;
    cmp_ok(rss_kib() - $before, '<', 1024, 'ten thousand messages, topics, subscriptions, and some connections leave no memory behind');
    $_->abort for $crowd->conns;
    is(scalar $ctx->topics, 0, 'and no topic');
}

# ---- the end of the program ----

our $perl = $^X;
my $blib = [ map { "-I$_" } grep { !ref } @INC ];

sub ends_quietly {
    my ($what, $status, $program, @arguments) = @_;
    my ($fh, $file) = tempfile(UNLINK => 1);
    print {$fh} $program;
    close $fh;
    my $pid = open my $out, '-|';
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec { $perl } $perl, @$blib, $file, @arguments;
        die "exec: $!";
    }
    my $printed = do { local $/; <$out> };
    close $out;
    is($?, $status << 8, "$what: status");
    is($printed, '', "$what: nothing is printed");
    return;
}

my $BEGIN = <<'PROGRAM';
use strict; use warnings;
use Crowd; use EV; use EV::Websockets; use POSIX ();
$SIG{ALRM} = sub { print "late\n"; POSIX::_exit(1) };
alarm 60;
{
    package BackEnd;
    sub new { my ($class, %on) = @_; return bless {%on}, $class }
    sub publish      { return called($_[0], 'publish') }
    sub topic_used   { return called($_[0], 'topic_used') }
    sub topic_unused { return called($_[0], 'topic_unused') }
    sub resume       { return called($_[0], 'resume') }
    sub called { my ($self, $name) = @_; $self->{$name}->() if $self->{$name}; return 1 }
}
our ($ctx, $crowd, $message, @conn, $back_end);
sub begin {
    my ($when, $act, %listen) = @_;
    my $on = sub { my ($name) = @_; return $name eq $when ? $act : sub { 1 } };
    $ctx = EV::Websockets::Context->new;
    $crowd = Crowd->new(ctx => $ctx, peers => 3, listen => {
        max_send_queue => 20_000, %listen, map { $_ => $on->($_) } qw(on_drop on_error on_close) });
    @conn = $crowd->conns;
    $crowd->peer(0)->stop_reading;
    $_->subscribe('t', on_slow => $when =~ /on_(?:error|close)/ ? 'close' : 'drop_old') for @conn;
    $ctx->topic('h', history => 5, max_age => 50, frame => sub { $on->('frame')->(); 'framed' });
    $_->subscribe('h') for @conn;
    $message = $ctx->prepare('m' x 5000);
    $ctx->publish('h', 'x') if $when eq 'frame';
    for (1 .. 500) {
        $ctx->publish('t', $message) for 1 .. 40;
        EV::run(EV::RUN_NOWAIT);
        last if $_ > 40 && $when eq 'nothing';
    }
}
PROGRAM
for my $when (qw(on_drop on_error on_close frame)) {
    ends_quietly("exit in $when", 7, "${BEGIN}begin('$when', sub { exit 7 }); exit 1;");
    ends_quietly("exec in $when", 8, "${BEGIN}begin('$when', sub { exec \$^X, '-e', 'exit 8' }); exit 1;");
}
for my $when (qw(publish topic_used topic_unused resume)) {
    for my $how ([ exit => 7, 'exit 7' ], [ exec => 8, q{exec $^X, '-e', 'exit 8'} ]) {
        my ($name, $status, $code) = @$how;
        ends_quietly("$name in $when of a back end", $status, $BEGIN . <<"PROGRAM");
begin('nothing', sub { 1 });
\$ctx->set_backplane(BackEnd->new($when => sub { $code }));
EV::run(EV::RUN_NOWAIT);
\$ctx->publish('t', 'x');
\$conn[1]->subscribe('r', since => [ 'x', 1 ]);
\$_->unsubscribe('t') for \@conn;
EV::run(EV::RUN_NOWAIT) for 1 .. 5;
exit 1;
PROGRAM
    }
}

# Everything is there at the end, in any order; publications are on their way.
my @FIRST = (
    '', 'undef $ctx;', 'undef $message;', '@conn = (); delete $crowd->{conn};', 'undef $crowd;', 'undef $crowd; @conn = ();',
    'undef $ctx; delete $crowd->{ctx};', 'undef $message; undef $ctx; delete $crowd->{ctx};',
    'our $cycle = { message => $message, ctx => $ctx }; $cycle->{cycle} = $cycle; undef $message;',
    '$conn[1]->stash->{message} = $message; $conn[1]->stash->{ctx} = $ctx; $conn[1]->stash->{conn} = $conn[1];',
    'my $lexical = $message; my @held = @conn; my $c = $ctx; sub kept { return $lexical, @held, $c }',
    '$back_end = BackEnd->new(topic_unused => sub { $ctx && $ctx->topics }); $ctx->set_backplane($back_end);',
    'our $guard = bless [ $ctx, $message ], "Guard"; sub Guard::DESTROY { my ($g) = @_; $g->[0]->publish("t", $g->[1]) if $g->[0] }',
    '$ctx->topic("f", frame => sub { $message; $ctx; "x" }); $ctx->publish("f", "x");',
);
sub ends {
    my ($name) = @_;
    for my $first (@FIRST) {
        ends_quietly("$name: $first", 0, "${BEGIN}begin('nothing', sub { 1 });\n\$ctx->publish('t', \$message) for 1 .. 3;\n$first\nexit 0;");
    }
    return;
}
# A perl that was built with -DDEBUGGING takes everything apart if it is told to, and says what it finds twice.
my ($other) = grep { -x } map { "$_/debugperl" } split /:/, $ENV{PATH} || '';
my $which = 'use Config; print "$^V $Config{archlibexp}"';
if ($other && `$other -e '$which'` eq `$^X -e '$which'`) {
    $perl = $other;
    $ENV{PERL_DESTRUCT_LEVEL} = 2;
}
ends($other ? 'PERL_DESTRUCT_LEVEL=2' : 'the end');

finish();
