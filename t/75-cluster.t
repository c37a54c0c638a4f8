use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Cwd qw(abs_path);
use ServerProgram;
use Test::More;

BEGIN {
    plan skip_all => 'AnyEvent::Redis is not installed' unless eval { require AnyEvent::Redis; 1 };
    plan skip_all => 'redis-server is not installed' unless ServerProgram::find('redis-server');
}

use EV;
use EV::Websockets;
use Events;
use File::Temp;
use Run;

# eg/cluster_chat.pl with the real Redis: a server each in two processes, their
# clients, and what each does when Redis is gone for a while. Then the load
# balancers that its comments configure, by just those lines.

my $example = "$FindBin::Bin/../eg/cluster_chat.pl";
my @include = map { '-I' . abs_path($_) } grep { !ref && -d } @INC;

my $dir = File::Temp->newdir;

sub start_redis {
    return ServerProgram->new(
        sub { return (ServerProgram::find('redis-server'), '--port', $_[0], '--bind', '127.0.0.1', '--dir', "$dir", '--save', '') },
        @_,
    );
}

my $redis = start_redis() or BAIL_OUT('redis-server does not start');
my $redis_port = $redis->port;
my @servers = map {
    ServerProgram->new(sub { return ($^X, @include, $example, '--redis', "redis://127.0.0.1:$redis_port", '--port', $_[0]) })
} 1 .. 2;
is(scalar(grep { defined } @servers), 2, 'two servers are up') or do { finish(); exit };

my $context = EV::Websockets::Context->new(proxy => '');

sub enter {
    my ($name, $port) = @_;
    my $events = Events->new;
    my $conn = $context->connect(url => "ws://127.0.0.1:$port/?name=$name", $events->handlers);
    run_until(sub { grep { $_ eq "* $name is here" } $events->messages }, "$name is in the room");
    return ($events, $conn);
}

sub sees {
    my ($events, $line, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return run_until(sub { grep { $_ eq $line } $events->messages }, $name) || diag map { "saw: $_\n" } ($events->messages)[ -5 .. -1 ];
}

# What both say reaches both, in the same order.
my ($ann, $ann_conn) = enter(ann => $servers[0]->port);
my ($bob, $bob_conn) = enter(bob => $servers[1]->port);
sees($ann, '* bob is here', 'ann hears of bob, who is at the other server');
for my $n (1 .. 20) {
    $ann_conn->send("from ann $n \xC3\xA9\r\n");
    $bob_conn->send("from bob $n");
}
run_until(sub { 2 == grep { 40 == grep { /: from/ } $_->messages } $ann, $bob }, 'all of it arrives at both');
is_deeply([ grep { /: from/ } $ann->messages ], [ grep { /: from/ } $bob->messages ], 'in one order');
is_deeply([ grep { /^ann/ } $bob->messages ], [ map { "ann: from ann $_ \xC3\xA9\r\n" } 1 .. 20 ], 'byte for byte');

{
    my $nameless = Events->new;
    $context->connect(url => 'ws://127.0.0.1:' . $servers[0]->port . '/?name=a%20b', $nameless->handlers);
    run_until(sub { $nameless->count('error') }, 'who has no proper name');
    like($nameless->last_of('error')->[0], qr/403/, 'is refused');
}

# Redis goes away and comes back.
$redis->stop;
sees($_, '* the others are out of reach', 'Redis is gone, and everyone is told') for $ann, $bob;
$ann_conn->send('anybody?');
sees($ann, '* not delivered', 'what is said is not lost in silence');
is((grep { /anybody/ } $bob->messages), 0, 'nor heard');
$redis = start_redis($redis_port);
sees($_, '* the others are back', 'Redis is back') for $ann, $bob;
$bob_conn->send('here again');
sees($ann, 'bob: here again', 'and so is the room');

# The load balancers lead two clients to different servers.
sub from_comments {
    my ($from, $to) = @_;
    open my $in, '<', $example or die "$example: $!";
    my ($lines) = join('', <$in>) =~ /^#   (\Q$from\E.*?)^$to/ms;
    $lines =~ s/^#//mg;
    return $lines;
}

sub with_ports {
    my ($text, $port) = @_;
    $text =~ s/(listen|bind) :?80\b/$1 127.0.0.1:$port/;
    $text =~ s/127\.0\.0\.1:8081/'127.0.0.1:' . $servers[0]->port/e;
    $text =~ s/127\.0\.0\.1:8082/'127.0.0.1:' . $servers[1]->port/e;
    return $text;
}

my %balancer = (
    nginx => [
        sub {
            my ($port) = @_;
            my @paths = map { "${_}_temp_path $dir/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
            # root's nginx gives these folders to "nobody", whom a user namespace need not have.
            my $user = $> == 0 ? "user root " . getgrgid(0) . ";\n" : '';
            return "${user}daemon off;\nmaster_process off;\npid $dir/nginx.pid;\nerror_log stderr;\nevents { }\n",
                "http {\naccess_log off;\n", @paths, with_ports(from_comments('upstream chat', qr/#\n# and/), $port), "}\n";
        },
        sub { return (ServerProgram::find('nginx'), '-p', "$dir", '-e', 'stderr', '-c', $_[0]) },
    ],
    haproxy => [
        sub { return with_ports(from_comments('frontend web', qr/use /), $_[0]) },
        sub { return (ServerProgram::find('haproxy'), '-db', '-f', $_[0]) },
    ],
);
for my $name (sort keys %balancer) {
    SKIP: {
        skip "$name is not installed", 1 if !ServerProgram::find($name);
        my $balancer = ServerProgram->configured(@{ $balancer{$name} });
        ok($balancer, "$name: is up") or next;
        my ($carl, $carl_conn) = enter("carl_$name", $balancer->port);
        my ($dora, $dora_conn) = enter("dora_$name", $balancer->port);
        $carl_conn->send('hello');
        sees($_, "carl_$name: hello", "$name: what one says, everyone sees") for $dora, $ann, $bob;
        $_->close for $carl_conn, $dora_conn;
        run_until(sub { $carl->count('close') && $dora->count('close') }, "$name: both leave");
        is($carl->last_of('close')->[0], 1000, "$name: with their codes");
        $balancer->terminate;
    }
}

# A server that is stopped sends its clients away, to come back elsewhere.
is($servers[0]->terminate, 0, 'a server ends when it is told to');
run_until(sub { $ann->count('close') }, 'its clients are closed');
is_deeply($ann->last_of('close'), [ 1001, 'server is stopping' ], 'with 1001');
sees($bob, '* ann has left', 'those of the other hear of it');
is($servers[1]->terminate, 0, 'so does the other');
is(join('', map { $_->output } @servers), join('', map { 'listening on port ' . $_->port . "\n" } @servers), 'no complaint from either');

finish();
