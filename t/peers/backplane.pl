# A process of a cluster: a context with a Backplane, and a WebSocket client of its own for each topic. It does what the
# lines on its standard input say, and tells on its standard output what happens.
#
#   use TOPIC                          a client subscribes
#   publish NAME TOPIC FIRST LAST      messages "NAME FIRST" to "NAME LAST", again and again until they are accepted
#   say TOPIC DATA                     one message (DATA in hex); tells what publish returned
#   write TOPIC FILE                   what the client got, a line each; "GAP" where a loss was announced
use strict;
use warnings;
use EV;
use EV::Websockets;
use EV::Websockets::Backplane;
use IO::Handle;

my ($redis, $client, %options) = @ARGV;
my $history = delete $options{history} || 0;
STDOUT->autoflush(1);
$SIG{PIPE} = 'IGNORE';
binmode $_ for *STDIN, *STDOUT;

if ($client eq 'OwnRedis') {
    require OwnRedis;
    $redis = OwnRedis->new($redis =~ /\Aredis\+unix:(.*)/);
}
else {
    $options{client} = $client;
}

my $context = EV::Websockets::Context->new(proxy => '');
my (%got, %clients);
my $backplane = EV::Websockets::Backplane->new(
    $context,
    redis      => $redis,
    history    => $history,
    retry      => 0.1,
    %options,
    on_up      => sub { print "up\n" },
    on_down    => sub { print "down\t$_[1]\n" },
    on_refused => sub { print "refused\t$_[1]\t$_[3]\n" },
    on_gap     => sub {
        my (undef, $topic, $reason, $count) = @_;
        # Behind what its subscribers have been sent.
        $context->publish($topic, 'GAP', local => 1);
        print "gap\t$topic\t$reason\t" . (defined $count ? $count : 'unknown') . "\n";
    },
);

my $port = $context->listen(
    host       => '127.0.0.1',
    port       => 0,
    on_message => sub {
        my ($conn, $topic) = @_;
        $conn->subscribe($topic);
        $conn->send('subscribed');
    },
);

sub client {
    my ($topic) = @_;
    my $is_subscribed;
    $clients{$topic} = $context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub { $_[0]->send($topic) },
        on_message => sub {
            return push @{ $got{$topic} }, $_[1] if $is_subscribed;
            $is_subscribed = 1;
            $got{$topic} = [];
            print "used\t$topic\n";
        },
    );
    return;
}

# As fast as it is taken, and no number is left out.
sub publish {
    my ($name, $topic, $number, $last) = @_;
    my $timer;
    $timer = EV::timer(0, 0.001, sub {
        for (1 .. 200) {
            last if $number > $last || !$context->publish($topic, "$name $number");
            $number++;
        }
        return if $number <= $last;
        print "published\t$name\t$last\n";
        undef $timer;
    });
    return;
}

sub write_to {
    my ($topic, $file) = @_;
    open my $out, '>:raw', $file or die "$file: $!";
    print $out map { "$_\n" } @{ $got{$topic} || [] };
    close $out or die "$file: $!";
    print "written\t$topic\t" . @{ $got{$topic} || [] } . "\n";
    return;
}

my %do = (
    use     => \&client,
    publish => \&publish,
    say     => sub { print "said\t" . ($context->publish($_[0], pack 'H*', $_[1]) ? 1 : 0) . "\n" },
    count   => sub { print "count\t" . @{ $got{$_[0]} || [] } . "\n" },
    write   => \&write_to,
);

my $buffer = '';
my $watcher = EV::io(\*STDIN, EV::READ, sub {
    sysread STDIN, $buffer, 65536, length $buffer or EV::break;
    while ($buffer =~ s/\A(.*)\n//) {
        my ($what, @rest) = split / /, $1;
        $do{$what}->(@rest);
    }
});
EV::run;
