package Limited;

# For tests of limits: a value that croaks in connect, listen and adopt alike, and a
# connection beside the one that is tested, which has to be served meanwhile.

use strict;
use warnings;
use Adopt ();
use EV::Websockets;
use Events;
use Run;
use Test::More;
use Exporter 'import';

our @EXPORT = qw(croaks_everywhere bystander is_served);

my $context;

# Every value of the list is refused, with its text: $text is what comes behind the name.
sub croaks_everywhere {
    my ($option, $text, @values) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $context ||= EV::Websockets::Context->new;
    for my $value (@values) {
        my $got   = ref $value || !defined $value ? qr/.*/ : quotemeta $value;
        my $shown = qr/\Q$text\E \(got '$got'\)/;
        my ($fh) = Adopt::unix_pair();
        my %call = (
            connect => sub { $context->connect(url => 'ws://127.0.0.1:1/', $option => $value) },
            listen  => sub { $context->listen(host => '127.0.0.1', $option => $value) },
            adopt   => sub { $context->adopt(fh => $fh, $option => $value) },
        );
        for my $method (sort keys %call) {
            croaks_like { $call{$method}->() } qr/\A$method: $option $shown at /,
                "$method: $option => " . (defined $value ? $value : 'undef');
        }
    }
    return;
}

# A client of a listener of its own that echoes, in this context.
sub bystander {
    my ($in) = @_;
    my $events = Events->new;
    my $port   = $in->listen(host => '127.0.0.1', on_message => sub { $_[0]->send($_[1]) });
    my $conn   = $in->connect(url => "ws://127.0.0.1:$port/", $events->handlers);
    run_until(sub { $events->count('connect') }, 'another connection');
    return { events => $events, conn => $conn };
}

sub is_served {
    my ($bystander, $name) = @_;
    my ($events, $before) = ($bystander->{events}, $bystander->{events}->count('message'));
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $bystander->{conn}->send($name);
    return run_until(sub { $events->count('message') > $before }, "$name: the other connection is served");
}

1;
