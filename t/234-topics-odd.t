use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Crowd;
use EV;
use EV::Websockets;
use Run;
use Test::More;

# Topics and prepared messages with arguments that nobody should give, and code that runs where nobody expects it.

{
    package Overloaded;
    use overload '""' => sub { $_[0]{run}->(); $_[0]{text} }, bool => sub { $_[0]{run}->(); $_[0]{text} },
        '&{}' => sub { my ($self) = @_; $self->{run}->(); return sub { "$self->{text} $_[0]" } }, fallback => 1;
    sub new { my ($class, $text, $run) = @_; return bless { text => $text, run => $run || sub { } }, $class }
}
{
    package Tied;
    sub TIESCALAR { my ($class, $text, $run) = @_; return bless { text => $text, run => $run }, $class }
    sub FETCH { my ($self) = @_; $self->{run}->(); return $self->{text} }
}
{
    package BackEnd;
    sub new { return bless { published => [] }, $_[0] }
    sub publish { my ($self, @arg) = @_; push @{ $self->{published} }, \@arg; return 'carried' }
    sub topic_used { }
    sub topic_unused { }
    sub resume { return 1 }
    sub topic_set { my ($self, @arg) = @_; $self->{set} = \@arg; return }
}
{
    package Guard;
    sub new { my ($class, $run) = @_; return bless { run => $run }, $class }
    sub DESTROY { $_[0]{run}->() }
}

my ($crowd, $ctx, $one, $two);

# Two subscribers of `t`, and a topic `h` that is counted, with the first of them.
sub begin {
    $crowd = Crowd->new(peers => 2);
    ($ctx, $one, $two) = ($crowd->ctx, $crowd->conns);
    $_->subscribe('t') for $one, $two;
    $ctx->topic('h', history => 10);
    $one->subscribe('h');
    return;
}

# The bug: the text of a reference was sent, "HASH(0x...)", to everyone.
begin();
for my $data ({ a => 1 }, [], sub { }, \'x', $one) {
    my $kind = ref $data;
    croaks_like(sub { $ctx->publish('t', $data) }, qr/^publish: data must be a string or a prepared message \(got '/, "publish $kind");
    croaks_like(sub { $ctx->prepare($data) }, qr/^prepare: data must be a string/, "prepare $kind");
    croaks_like(sub { $ctx->broadcast($data, [$one]) }, qr/^broadcast: data must be a string/, "broadcast $kind");
    croaks_like(sub { $ctx->publish('h', 'x', frame => sub { $data }) }, qr/^publish: data must be a string/, "framed as $kind");
}
# The bug: of an object that overloads something, but not its text, perl said 'Operation """": no method found', and not
# which argument it was.
{
    package Same;
    use overload '==' => sub { 1 };
}
croaks_like(sub { $ctx->publish('t', bless {}, 'Same') }, qr/^publish: data must be a string or a prepared message \(got 'Same=HASH/,
    'an object that compares');
croaks_like(sub { $ctx->topic(bless {}, 'Same') }, qr/^topic: topic must be a defined string \(got 'Same=HASH/, 'as a topic');
is($ctx->publish('t', Overloaded->new('text')), 2, 'an object that says what it is as a text is one');
is_deeply($crowd->got(0, 1), ['text'], 'which is sent, and nothing before it');
is($ctx->position('h')->[1], 0, 'nothing was counted');

# The bug: as the data of a Ping or a fragment a prepared message was its own name, EV::Websockets::Prepared=SCALAR(...).
{
    my $message = $ctx->prepare('x');
    croaks_with(sub { $one->send_ping($message) }, 'send_ping: a prepared message is a message of its own, for send', 'a Ping');
    croaks_with(sub { $one->send_pong($message) }, 'send_pong: a prepared message is a message of its own, for send', 'a Pong');
    croaks_with(sub { $one->send_fragment($message, 0, 0) },
        'send_fragment: a prepared message is a message of its own, for send', 'a fragment');
    croaks_like(sub { $one->close(1000, $message) },
        qr/^close: reason must be a string \(got 'EV::Websockets::Prepared=SCALAR\(0x/, 'a reason of close');
    croaks_like(sub { $ctx->shutdown(reason => $message) }, qr/^shutdown: reason must be a string \(got 'EV::/, 'of shutdown');
    ok($one->is_connected, 'nobody was closed');
    ok($one->send_binary($message), 'send_binary sends it as it was prepared');
    is(($crowd->frames(0, 1))[0]{opcode}, 1, 'as a text');
    croaks_like(sub { $ctx->publish('t', $message, utf8 => 1) }, qr/^publish: utf8 was decided when/, 'utf8 comes too late');
    is($ctx->publish('t', $message, binary => undef, compress => undef, utf8 => undef), 2, 'an option that is undef is not given');
}

# The bug: a connection or a context in place of data was sent as its class and its address. Their text, or that of a class
# with overloading, may be sent.
{
    package Named;
    our @ISA = ('EV::Websockets::Connection');
    use overload '""' => sub { 'a name' }, fallback => 1;
}
for my $object ($one, $ctx) {
    my $kind = ref $object;
    for my $method (qw(send send_text send_binary send_fragment send_ping send_pong)) {
        croaks_like(sub { $two->$method($object) }, qr/^$method: data must be a string \(got '${kind}=SCALAR\(0x/, "$method: $kind");
    }
    croaks_like(sub { $two->close(1000, $object) }, qr/^close: reason must be a string \(got '$kind/, "close: $kind");
    ok($two->send("$object"), 'its text');
}
ok($two->send(bless $one, 'Named'), 'an object with a text');
bless $one, 'EV::Websockets::Connection';
like(join(' ', @{ $crowd->got(1, 5) }), qr/ EV::Websockets::Connection=\S+ EV::Websockets::Context=\S+ a name\z/, 'and these arrive');

# The bug: `last` in frame left the loop around publish, and what follows it ran inside of publish, whose croak came at the
# end of the program, or a crash.
{
    no warnings 'exiting';
    my $rounds = 0;
    for my $way (sub { last }, sub { next }) {
        $rounds++;
        croaks_like(sub { $ctx->publish('h', 'x', frame => $way) }, qr/^Can't "(?:last|next)" outside a loop block/, 'out of frame');
    }
    is($rounds, 2, 'the loop around it goes on');
    ok(!eval { $ctx->publish('h', 'x', frame => sub { die { code => 5 } }) }, 'a frame that dies with a reference');
    is_deeply($@, { code => 5 }, 'which arrives');
    my @in_sort = sort { $ctx->publish('t', 'in sort'); $a <=> $b } 2, 1;
    is("@in_sort", '1 2', 'publish in sort');
}

# What an option of another method says.
croaks_like(sub { $ctx->publish('t', 'x', history => 5) }, qr/^publish: unknown option 'history': it is an option of topic at/,
    'history in publish');
croaks_like(sub { $one->subscribe('t', key => 5) }, qr/^subscribe: unknown option 'key': it is an option of publish at/,
    'key in subscribe');
croaks_like(sub { $ctx->listen(host => '127.0.0.1', on_slow => 'latest') },
    qr/^listen: unknown option 'on_slow': it is an option of subscribe and topic at/, 'on_slow in listen');
croaks_like(sub { $ctx->broadcast('x', $one, $two) }, qr/^broadcast: connections must be an array reference \(got/,
    'connections without a list');

# The bug: these were taken in silence, and had no effect.
croaks_like(sub { $ctx->publish('h', 'x', position => 'here') }, qr/^publish: position must be a reference to an array/,
    'a position that is none, without frame');
croaks_like(sub { $ctx->topic('f', frame => sub { 1 }, max_age => 5) },
    qr/^topic: max_age is for what history keeps, and there is no history/, 'max_age with nothing but frame');
is($ctx->position('f'), undef, 'nothing was set');

# Numbers at the ends of their ranges.
for my $age (1e300, 1e19, 1e-300, 4294967296) {
    $ctx->topic('n', history => 4294967295, max_age => $age);
    $ctx->publish('n', 'x') for 1 .. 3;
    EV::run(EV::RUN_NOWAIT);
}
is($ctx->position('n')->[1], 12, 'any max_age, and the longest history');

# A back end that code takes away while an option is read. The bug: publish went on with it, and crashed.
begin();
for my $way ('publish', 'subscribe') {
    my $back_end = BackEnd->new;
    my $call = $way eq 'publish' ? sub { $ctx->publish('t', 'x', local => $_[0]) }
        : sub { $two->subscribe('h', since => [ 'x', 1 ], local => $_[0]) };
    $ctx->set_backplane($back_end);
    my $result = $call->(Overloaded->new('', sub { $ctx->set_backplane(undef) }));
    is($result, $way eq 'publish' ? 2 : '', "$way: a back end that is gone is not asked");
}
for my $what (sub { $ctx->DESTROY }, sub { undef $ctx; delete $crowd->{ctx} }) {
    begin();
    $ctx->set_backplane(BackEnd->new);
    croaks_like(sub { $ctx->publish('t', 'x', local => Overloaded->new('', $what)) }, qr/^Context has been destroyed/, 'publish');
    begin();
    $ctx->set_backplane(BackEnd->new);
    croaks_like(sub { $two->subscribe('u', since => [ 'x', 1 ], local => Overloaded->new('', $what)) },
        qr/^Connection is not open/, 'subscribe');
    begin();
    croaks_like(sub { $two->subscribe('u', on_slow => Overloaded->new('latest', $what)) }, qr/^Connection is not open/, 'on_slow');
    begin();
    tie my $epoch, 'Tied', 'x', $what;
    croaks_like(sub { $two->subscribe('u', since => [ $epoch, Overloaded->new(1, $what) ]) }, qr/^Connection is not open/, 'since');
    for my $option (qw(binary compress utf8 key)) {
        begin();
        croaks_like(sub { $ctx->publish('t', 'x', $option => Overloaded->new('', $what)) }, qr/^Context has been destroyed/, $option);
    }
    begin();
    croaks_like(sub { $ctx->publish('h', 'x', frame => sub { $what->(); 'x' }) }, qr/^Context has been destroyed/, 'frame');
    begin();
    croaks_like(sub { $ctx->publish('h', 'x', frame => Overloaded->new('x', $what)) }, qr/^Context has been destroyed/,
        'frame that is an object');
    begin();
    croaks_like(sub { $ctx->broadcast('x', [ $one, Overloaded->new('', $what), $two ]) }, qr/^broadcast: a connection must be/,
        'a list of connections');
}

# The back end is given what was given. The bug: `utf8` was among it always.
{
    begin();
    my $back_end = BackEnd->new;
    $ctx->set_backplane($back_end);
    is($ctx->publish('t', 'x', binary => 1), 'carried', 'it answers');
    is_deeply($back_end->{published}, [ [ 't', 'x', { binary => 1 } ] ], 'and gets what was given');
}

# A back end is given nothing that publish refuses without one, and nothing that runs code. The bug: only was left to the
# back end, and one that did not know it sent to all; an object among the options was asked again whenever it was used.
{
    begin();
    my $other = Crowd->new(peers => 1);
    my $back_end = BackEnd->new;
    my %bad = (
        'a wide key'         => [ 'x', key => "\x{100}" ],
        'a key that is none' => [ 'x', key => [] ],
        'a key that dies'    => [ 'x', key => Overloaded->new('', sub { die "no key\n" }) ],
        'a flag that dies'   => [ 'x', compress => Overloaded->new('', sub { die "no flag\n" }) ],
        'except of another'  => [ 'x', except => $other->conn(0) ],
        'except that is none' => [ 'x', except => 'junk' ],
        'frame that is none' => [ 'x', frame => 'junk' ],
        'no data'            => [undef],
        'data that are none' => [ {} ],
        'data that die'      => [ Overloaded->new('', sub { die "no data\n" }) ],
        'wide data'          => [ "\x{100}", binary => 1 ],
        'no character'       => [ do { no warnings; chr 0xD800 }, utf8 => 1 ],
        'another message'    => [ $other->ctx->prepare('x') ],
        'too late'           => [ $ctx->prepare('x'), binary => 1 ],
    );
    for my $what (sort keys %bad) {
        my ($data, @options) = @{ $bad{$what} };
        my @errors = map { $ctx->set_backplane($_); eval { $ctx->publish('t', $data, @options); 1 } ? 'lived' : $@ } undef, $back_end;
        s/0x[0-9a-f]+|line \d+//g for @errors;
        is($errors[1], $errors[0], $what);
        isnt($errors[0], 'lived', "$what, without a back end");
    }
    croaks_with(sub { $ctx->publish('t', 'x', only => $one) },
        'publish: only needs local => 1: it is for a connection of this process', 'only');
    croaks_with(sub { $ctx->publish('t', 'x', position => [ 'x', 1 ]) }, 'publish: position needs local => 1: the back end counts',
        'position');
    is_deeply($back_end->{published}, [], 'the back end has seen nothing of it');
    is_deeply($crowd->got($_, 0), [], 'and nobody here') for 0, 1;

    my %reads;
    my $read = sub { my ($name, $text) = @_; return Overloaded->new($text, sub { $reads{$name}++ }) };
    my $message = $ctx->prepare('prepared');
    $ctx->publish($read->('topic', 't'), $read->('data', "\xE9"), utf8 => $read->('utf8', 1), compress => $read->('compress', 0),
        key => $read->('key', "k\xE9\x{100}" =~ /(..)/), except => $one, local => 0);
    $ctx->publish('t', $message, except => undef);
    is_deeply({%reads}, { map { $_ => 1 } keys %reads }, 'every object is asked once');
    my ($first, $second) = @{ $back_end->{published} };
    is($first->[2]{except}, $one, 'except is the connection');
    is_deeply($first, [ 't', "\xC3\xA9", { compress => '', key => "k\xE9", except => $one } ], 'what is given is plain, and is what goes out');
    ok(!grep({ utf8::is_utf8($_) || ref } @$first[0, 1], @{ $first->[2] }{qw(compress key)}), 'as octets');
    is_deeply($second, [ 't', $message, {} ], 'a prepared message is itself');
    is($second->[1], $message, 'and no copy');
    ok($ctx->publish($first->[0], $first->[1], %{ $first->[2] }, local => 1), 'and all of it can be published here');
    is_deeply($crowd->got(1, 1), ["\xC3\xA9"], 'as it was meant');

    $ctx->topic('n', history => Overloaded->new('7'), max_age => Overloaded->new('0.5'), on_slow => 'latest');
    is_deeply($back_end->{set}, [ 'n', { history => 7, max_age => 0.5, on_slow => 'latest' } ], 'topic tells numbers');

    # One that goes while it is being read: what was read is published here.
    for my $option (qw(binary compress key)) {
        $ctx->set_backplane($back_end);
        is($ctx->publish('t', "\xE9", utf8 => 1, $option => Overloaded->new('', sub { $ctx->set_backplane(undef) })), 2, "$option: not asked");
    }
    is_deeply($crowd->got(0, 3), [ ("\xC3\xA9") x 3 ], 'and nothing is encoded twice');
}

# An argument that another one's code frees.
begin();
{
    my %held = (topic => 't', data => 'd' x 500);
    tie my $key, 'Tied', 'k', sub { delete @held{qw(topic data)}; my @junk = map { "junk $_" x 60 } 1 .. 20 };
    is($ctx->publish($held{topic}, $held{data}, key => $key), 2, 'publish');
    %held = (topic => 'n' x 500);
    tie my $slow, 'Tied', 'latest', sub { delete $held{topic}; my @junk = map { "junk $_" x 60 } 1 .. 20 };
    ok($two->subscribe($held{topic}, on_slow => $slow), 'subscribe');
    is_deeply([ sort $two->topics ], [ 'n' x 500, 't' ], 'to what was said');
    tie my $topic, 'Tied', 't', sub { undef $two };
    ok(do { my $conn = $two; $two->unsubscribe($topic) }, 'unsubscribe');
    is_deeply($crowd->got(0, 1), [ 'd' x 500 ], 'and what was said arrives');
}

# The code behind a list of connections changes the data: what it is then goes out, and never what was freed.
{
    package Lists;
    require Tie::Array;
    our @ISA = ('Tie::StdArray');
    our $run;
    sub FETCH { $run->(); return $_[0][ $_[1] ] }
}
begin();
{
    my $data = 'before' x 100;
    tie my @list, 'Lists';
    @list = ($one, $two);
    $Lists::run = sub { undef $data; $data = 'after' };
    is($ctx->broadcast($data, \@list), 2, 'a list with code');
    is_deeply($crowd->got($_, 1), ['after'], 'and what it leaves is sent') for 0, 1;
}

# What frame does to others: it closes everyone, publishes elsewhere, subscribes somebody, runs the loop.
begin();
is($ctx->publish('h', 'x', frame => sub { $ctx->publish('t', 'inner'); 'outer' }), 1, 'frame publishes elsewhere');
is_deeply($crowd->got(0, 2), [ 'inner', 'outer' ], 'which comes first');
is($ctx->publish('h', 'x', frame => sub { $two->subscribe('h'); EV::run(EV::RUN_NOWAIT); 'both' }), 2, 'subscribes somebody');
is_deeply($crowd->got(1, 2), [ 'inner', 'both' ], 'who gets it');
is($ctx->publish('h', my $given = 'x', frame => sub { @_[0 .. 2] = (1, 2, 3); 'own' }), 2, 'writes to its arguments');
is($given, 'x', 'which are its own');
is($ctx->publish('h', 'x', except => $two, frame => sub { $two->close; 'x' }), 1, 'closes the one that is left out');
is($ctx->publish('h', 'x', frame => sub { $_->abort for $one, $two; 'x' }), 0, 'aborts everyone');
is($ctx->publish('h', 'x', except => $two), 0, 'one that is closed is left out without a word');

# What was there before goes in the middle of topic(). The bug: a context that ended in it took the frames of topics with it,
# while one was written to.
for my $what (sub { $ctx->DESTROY }, sub { undef $ctx; delete $crowd->{ctx} }, sub { $ctx->topic('f') }) {
    begin();
    my $guard = Guard->new($what);
    $ctx->topic('f', frame => do { my $held = $guard; sub { "x $held" } });
    undef $guard;
    $ctx->topic('f', frame => sub { 'y' });
    pass('a frame whose end does something');
}
{
    begin();
    my $published;
    my $guard = Guard->new(sub { $published = $ctx->publish('t', 'in DESTROY') });
    $ctx->topic('f', frame => do { my $held = $guard; sub { "x $held" } });
    undef $guard;
    $ctx->topic('f');
    is($published, 2, 'published in DESTROY');
    is_deeply($crowd->got(1, 1), ['in DESTROY'], 'and delivered');
}

# $_ is the program's.
begin();
$ctx->topic('h', history => 5, frame => sub { my ($data) = @_; for (1 .. 2) { $data .= $_ } $data });
$ctx->publish('h', $_) for 'a', 'b';
is_deeply([ map { $ctx->publish('h', $_) } 'c', 'd' ], [ 1, 1 ], 'publish in for and map');
is_deeply($crowd->got(0, 4), [ map { $_ . 12 } 'a' .. 'd' ], 'with what they go through');

# A client subscribes in its on_connect, and not before.
{
    my ($subscribed, $early);
    my $client = EV::Websockets::Context->new;
    my @got;
    my $conn = $client->connect(
        url        => 'ws://127.0.0.1:' . $crowd->port,
        on_connect => sub { $subscribed = $_[0]->subscribe('mine'); $client->publish('mine', 'from the client') },
    );
    croaks_with(sub { $conn->subscribe('mine') }, 'Connection is not open', 'too early');
    run_until(sub { $subscribed }, 'in on_connect');
    is($client->subscribers('mine'), 1, 'it has subscribed');
    is($conn->stats->{messages_sent}, 1, 'and is published to');
}

# What can be no back end is none, and the context goes on without.
{
    my $crowd = Crowd->new(peers => 1);
    my $ctx = $crowd->ctx;
    croaks_with(sub { $ctx->set_backplane(bless {}, 'Nothing') }, 'set_backplane: the object has no method publish', 'a back end without methods');
    {
        package Carrier;
        sub publish { return 1 }
        sub topic_used { }
        sub topic_unused { }
    }
    $ctx->set_backplane(bless {}, 'Carrier');
    croaks_with(sub { $crowd->conn(0)->subscribe('t', since => [ 'x', 1 ]) }, 'subscribe: the back end cannot resume', 'one that cannot resume');
    is_deeply([ $crowd->conn(0)->topics ], [], 'nobody has subscribed');
    $ctx->set_backplane(undef);
    croaks_with(sub { $ctx->set_backplane('redis') }, q{set_backplane: back end must be an object (got 'redis')}, 'no object');
    $crowd->conn(0)->subscribe('t');
    is($ctx->publish('t', 'x'), 1, 'nothing has changed');
}

finish();
