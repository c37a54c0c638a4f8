package HttpPeer;

# A RawPeer that asks for pages: it keeps count of what it has asked for, since
# only the request says where its response ends.

use strict;
use warnings;
use RawPeer;
use Run;

our @ISA = ('RawPeer');

# A head is cut off only where there is an upgrade.
sub _cut_head {
    my ($self) = @_;
    return if !$self->{upgrading};
    return $self->SUPER::_cut_head;
}

# The bytes of a request. version, headers (a list of lines), body.
sub bytes_of {
    my ($class, $method, $target, %o) = @_;
    my @lines = ("$method $target " . ($o{version} || 'HTTP/1.1'), 'Host: test', @{ $o{headers} || [] });
    push @lines, 'Content-Length: ' . length $o{body} if defined $o{body};
    return join("\r\n", @lines, '', '') . (defined $o{body} ? $o{body} : '');
}

sub ask {
    my ($self, $method, $target, %o) = @_;
    push @{ $self->{asked} }, $method;
    return $self->put($self->bytes_of($method, $target, %o));
}

# For requests that were put as bytes.
sub expects {
    my ($self, @methods) = @_;
    push @{ $self->{asked} }, @methods;
    return $self;
}

# All responses read so far, oldest first: status, line, header (a hash of
# array refs), body. Interim ones are responses, too.
sub responses {
    my ($self) = @_;
    while (my $response = $self->_take) {
        push @{ $self->{responses} }, $response;
    }
    return @{ $self->{responses} || [] };
}

sub _take {
    my ($self) = @_;
    my $end = index $self->{in}, "\r\n\r\n";
    return if $self->{upgrading} || $end < 0;
    my ($line, @fields) = split /\r\n/, substr $self->{in}, 0, $end;
    my %response = (line => $line, header => {});
    ($response{status}) = $line =~ m{\AHTTP/1\.1 ([0-9]{3}) };
    for my $field (@fields) {
        my ($name, $value) = split /: ?/, $field, 2;
        push @{ $response{header}{$name} }, $value;
    }
    my $interim = $response{status} < 200;
    my $method = $interim ? '' : ($self->{asked} && $self->{asked}[0]) || 'GET';
    my $length = $response{header}{'Content-Length'};
    my $has_body = $length && $method ne 'HEAD' && $response{status} !~ /\A(?:1..|204|304)\z/;
    my $all = $end + 4 + ($has_body ? $length->[0] : 0);
    return if length $self->{in} < $all;
    shift @{ $self->{asked} } if !$interim;
    $response{body} = substr $self->{in}, $end + 4, $all - $end - 4;
    substr($self->{in}, 0, $all) = '';
    return \%response;
}

# Asks, and runs the loop until the answer is there: the response, or nothing.
sub fetch {
    my ($self, @request) = @_;
    my $before = () = $self->responses;
    $self->ask(@request);
    wait_until(sub { my @all = $self->responses; @all > $before });
    return ($self->responses)[$before] || {};
}

# Becomes the RawPeer that it is: what follows is an upgrade and frames.
sub upgrade {
    my ($self, @options) = @_;
    $self->{upgrading} = 1;
    return $self->SUPER::upgrade(@options);
}

1;
